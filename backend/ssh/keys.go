package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/duffy-ci/duffy/backend"
)

// A keyring holds the keys to log in with.
type keyring struct {
	agent   string // the socket, if any
	files   []keyFile
	sources []string // where keys were looked for, for errors
}

// A keyFile is a private key, beside which there may be a certificate at any time:
// those are renewed.
type keyFile struct {
	gossh.Signer
	name string
}

func (k keyring) String() string { return strings.Join(k.sources, ", ") }

func loadKeyring(config Config) (keyring, error) {
	if len(config.KeyFiles) == 0 && config.Agent == "" {
		return defaultKeyring(config)
	}
	var k keyring
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
	var k keyring
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
		case errors.Is(err, os.ErrPermission):
			k.sources = append(k.sources, name+" (must not be read)")
			config.Logger.Warn("SSH key is not used since this user may not read it", "file", name)
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
	k.files = append(k.files, keyFile{signer, name})
	k.sources = append(k.sources, name)
	return nil
}

// A bunch is the keys of a keyring for one login.
type bunch struct {
	keys    []gossh.Signer
	missing error // why there are not more of them
	release func()
}

// open returns all keys. They can be used until release is called, which it must
// be, or ctx ends.
func (k keyring) open(ctx context.Context) (bunch, error) {
	b := bunch{release: func() {}}
	if k.agent != "" {
		b.keys, b.release, b.missing = openAgent(ctx, k.agent)
	}
	for _, file := range k.files {
		certificate, err := file.certificate()
		if certificate != nil {
			b.keys = append(b.keys, certificate)
		}
		b.keys, b.missing = append(b.keys, file.Signer), errors.Join(b.missing, err)
	}
	if len(b.keys) == 0 {
		b.release()
		return b, backend.NotTried(cmp.Or(b.missing, fmt.Errorf("there is no SSH key to log in with: looked for %s", k)))
	}
	return b, nil
}

// certificate returns the key with the certificate beside it, as ssh looks for it, nil
// if there is none.
func (f keyFile) certificate() (gossh.Signer, error) {
	name := f.name + "-cert.pub"
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("SSH certificate: %w", err)
	}
	key, _, _, _, err := gossh.ParseAuthorizedKey(text)
	certificate, ok := key.(*gossh.Certificate)
	if err == nil && !ok {
		err = errors.New("it is no certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("SSH certificate %s: %w", name, err)
	}
	signer, err := gossh.NewCertSigner(certificate, f.Signer)
	if end := time.Unix(int64(certificate.ValidBefore), 0); err == nil && certificate.ValidBefore != gossh.CertTimeInfinity && time.Now().After(end) {
		err = fmt.Errorf("it was valid until %s", end.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return nil, fmt.Errorf("SSH certificate %s: %w", name, err)
	}
	return signer, nil
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
