package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// A hostCheck lets a host pass that has one of the keys in accept, or any host
// if there are none. It is for one connection.
type hostCheck struct {
	accept []gossh.PublicKey
	whose  string // what accept is, for errors

	seen      gossh.PublicKey // by which the host passed, nil if it did not yet
	exchanges int             // of keys, at each of which the host is checked
}

// maxExchanges is more than any honest host needs for a few kilobytes. Each costs
// us as much as it costs the host.
const maxExchanges = 3

// hostCheckOf returns the check that node is to pass.
func hostCheckOf(node backend.Node, policy backend.HostKeys) (hostCheck, error) {
	switch policy {
	case backend.AnyHostKey:
		return hostCheck{}, nil
	case backend.PinnedHostKeys:
		keys, err := toldHostKeys(node)
		return hostCheck{accept: keys, whose: "the ssh_host_key that provisioning told"}, err
	case backend.FirstHostKey:
		if node.Inspection == nil {
			return hostCheck{}, nil
		}
		keys := publicKeys(node.Inspection.HostKeys)
		if len(keys) == 0 {
			return hostCheck{}, errors.New("host keys are to stay as they were, but none that was kept of it is a public key")
		}
		return hostCheck{accept: keys, whose: "the one that it had when Duffy first logged in: it was reinstalled " +
			"or something else answers in its place (host-keys: any allows that)"}, nil
	}
	return hostCheck{}, fmt.Errorf("host keys are to be %q, which is none of any, first-use and pinned", policy)
}

// toldHostKeys reads ssh_host_key as it comes out of JSON, a playbook or a Go
// program.
func toldHostKeys(node backend.Node) ([]gossh.PublicKey, error) {
	var lines []string
	switch value := node.Provision["ssh_host_key"].(type) {
	case string:
		lines = []string{value}
	case []string:
		lines = value
	case []any:
		for _, line := range value {
			lines = append(lines, fmt.Sprint(line))
		}
	}
	keys := publicKeys(lines)
	if len(keys) == 0 {
		return nil, errors.New("host keys are to be checked, but provisioning told no ssh_host_key that is a public key")
	}
	return keys, nil
}

// publicKeys reads lines as in authorized_keys or known_hosts, in which names stand
// where the former has options.
func publicKeys(lines []string) []gossh.PublicKey {
	var keys []gossh.PublicKey
	for rest := []byte(strings.Join(lines, "\n")); len(rest) > 0; {
		var key gossh.PublicKey
		var err error
		if key, _, _, rest, err = gossh.ParseAuthorizedKey(rest); err != nil {
			break
		}
		keys = append(keys, key)
	}
	return keys
}

// check is called at each exchange of keys, of which there may be more than one in a
// connection.
func (h *hostCheck) check(key gossh.PublicKey) error {
	if h.exchanges++; h.exchanges > maxExchanges {
		return fmt.Errorf("it exchanges keys more than %d times", maxExchanges)
	}
	if h.seen != nil && !same(h.seen, key) {
		return errors.New("it changes its host key in the middle of a connection")
	}
	if h.accept != nil && !slices.ContainsFunc(h.accept, func(k gossh.PublicKey) bool { return same(k, key) }) {
		return fmt.Errorf("its host key %s is not %s", gossh.FingerprintSHA256(key), h.whose)
	}
	if h.seen == nil { // others read it once the connection is there
		h.seen = key
	}
	return nil
}

func same(a, b gossh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// algorithms makes the host show the key that is known of it, if it has several,
// and otherwise any: check tells what is wrong with that. One of which nothing is known
// is to show a key, not a certificate, since that gets renewed.
func (h *hostCheck) algorithms() []string {
	var names []string
	for _, key := range h.accept {
		if key.Type() == gossh.KeyAlgoRSA {
			names = append(names, gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256, gossh.KeyAlgoRSA)
		} else {
			names = append(names, key.Type())
		}
	}
	for _, name := range slices.Concat(gossh.SupportedAlgorithms().HostKeys, gossh.InsecureAlgorithms().HostKeys) {
		if !strings.Contains(name, "-cert-") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
