package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A keyring holds the keys to log in with.
type keyring struct {
	logger  *slog.Logger
	agent   string // the socket, if any
	signers []gossh.Signer
	sources []string // where keys were looked for, for errors
}

func (k keyring) String() string { return strings.Join(k.sources, ", ") }

func loadKeyring(config Config) (keyring, error) {
	if len(config.KeyFiles) == 0 && config.Agent == "" {
		return defaultKeyring(config)
	}
	k := keyring{logger: config.Logger}
	if config.Agent != "" {
		k.useAgent(config.Agent)
	}
	for _, name := range config.KeyFiles {
		if err := k.load(name); err != nil {
			return keyring{}, err
		}
	}
	return k, nil
}

func defaultKeyring(config Config) (keyring, error) {
	k := keyring{logger: config.Logger}
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		k.useAgent(socket)
	} else {
		k.sources = append(k.sources, "ssh-agent (SSH_AUTH_SOCK is not set)")
	}
	for _, name := range defaultFiles() {
		err := k.load(name)
		var passphrase *gossh.PassphraseMissingError
		switch {
		case errors.Is(err, os.ErrNotExist):
			k.sources = append(k.sources, name+" (not there)")
		case errors.As(err, &passphrase):
			k.sources = append(k.sources, name+" (needs a passphrase)")
			config.Logger.Warn("SSH key is not used since it needs a passphrase", "file", name)
		case err != nil:
			return keyring{}, err
		}
	}
	return k, nil
}

// defaultFiles returns where keys are looked for. A service without a home has none,
// and may well have an agent.
func defaultFiles() (names []string) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	for _, base := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		names = append(names, filepath.Join(home, ".ssh", base))
	}
	return names
}

// Files returns the files that private keys are read from, of which the usual ones
// need not exist.
func (c Config) Files() []string {
	if len(c.KeyFiles) == 0 && c.Agent == "" {
		return defaultFiles()
	}
	return c.KeyFiles
}

func (k *keyring) useAgent(socket string) {
	k.agent = socket
	k.sources = append(k.sources, "ssh-agent at "+socket)
}

func (k *keyring) load(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("SSH key: %w", err)
	}
	signer, err := gossh.ParsePrivateKey(text)
	var passphrase *gossh.PassphraseMissingError
	switch {
	case errors.As(err, &passphrase):
		return fmt.Errorf("SSH key %s needs a passphrase: use one without, or an ssh-agent: %w", name, err)
	case err != nil:
		return fmt.Errorf("SSH key %s: %w", name, err)
	}
	k.signers = append(k.signers, signer)
	k.sources = append(k.sources, name)
	return nil
}

// open returns all keys. They can be used until release is called, which it must
// be, or ctx ends.
func (k keyring) open(ctx context.Context) (keys []gossh.Signer, release func(), err error) {
	release = func() {}
	if k.agent != "" {
		keys, release, err = openAgent(ctx, k.agent)
	}
	if keys = append(keys, k.signers...); len(keys) == 0 {
		release()
		return nil, nil, cmp.Or(err, fmt.Errorf("there is no SSH key to log in with: looked for %s", k))
	}
	if err != nil {
		k.logger.WarnContext(ctx, "the ssh-agent does not help", "error", err)
	}
	return keys, release, nil
}

func openAgent(ctx context.Context, socket string) (keys []gossh.Signer, release func(), err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, func() {}, fmt.Errorf("ssh-agent: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	release = func() {
		stop()
		conn.Close()
	}
	keys, err = agent.NewClient(conn).Signers()
	if err != nil {
		err = fmt.Errorf("ssh-agent at %s: %w", socket, err)
	}
	return keys, release, err
}
