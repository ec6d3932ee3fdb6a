package ssh

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// Check reports what is wrong with settings, without a look at keys. It returns
// *[backend.SettingError] values, joined with [errors.Join] if there are several.
func (c Config) Check() error {
	_, err := newContextualizer(c)
	return err
}

// readSettings reads what is written in the notation of OpenSSH.
func (c *Contextualizer) readSettings() error {
	safe, old := gossh.SupportedAlgorithms(), gossh.InsecureAlgorithms()
	var defaults gossh.Config
	defaults.SetDefaults()
	var errs []error
	setting := func(name string, err error) {
		if err != nil {
			errs = append(errs, &backend.SettingError{Path: []string{"ssh", name}, Err: err})
		}
	}
	var err error
	c.jumps, err = parseJumps(c.config.ProxyJump, c.config.User)
	setting("proxy-jump", err)
	setting("authorized-keys", checkKeysFile(c.config.AuthorizedKeys))
	c.algorithms.KeyExchanges, err = algorithms(c.config.KexAlgorithms, defaults.KeyExchanges, safe.KeyExchanges, old.KeyExchanges)
	setting("kex-algorithms", err)
	c.algorithms.Ciphers, err = algorithms(c.config.Ciphers, defaults.Ciphers, safe.Ciphers, old.Ciphers)
	setting("ciphers", err)
	c.algorithms.MACs, err = algorithms(c.config.MACs, defaults.MACs, safe.MACs, old.MACs)
	setting("macs", err)
	return errors.Join(errs...)
}

// algorithms reads a list as in ssh_config, of algorithms that are known.
func algorithms(text string, defaults []string, known ...[]string) ([]string, error) {
	if text == "" {
		return defaults, nil
	}
	list, add := strings.CutPrefix(text, "+")
	names := strings.Split(list, ",")
	all := slices.Concat(known...)
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no %q, but %s", name, strings.Join(all, ", "))
		}
	}
	if add {
		names = slices.Concat(defaults, names)
	}
	return names, nil
}

// checkKeysFile returns what is wrong with an AuthorizedKeysFile.
func checkKeysFile(file string) error {
	_, err := shellPath(file, "")
	return err
}
