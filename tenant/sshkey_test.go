package tenant_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

// publicKeys returns lines for authorized_keys.
func publicKeys(t testing.TB) map[string]string {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ed25519Key, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	lines := map[string]string{}
	for name, key := range map[string]any{"rsa": rsaKey.Public(), "ecdsa": ecdsaKey.Public(), "ed25519": ed25519Key} {
		public, err := ssh.NewPublicKey(key)
		require.NoError(t, err)
		lines[name] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	}
	return lines
}

func privateKey(t testing.TB) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

func TestSSHKeysThatAreTaken(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t)
	for _, text := range []string{
		keys["rsa"], keys["ecdsa"], keys["ed25519"],
		keys["rsa"] + " alice@example.net\n\n# bob's\n" + keys["ed25519"] + " bob: ssh-rsa\n",
		keys["rsa"] + "\r\n" + keys["ecdsa"] + "\r\n",
		"\t" + keys["ed25519"],
		`command="echo ssh-rsa is it",no-pty,environment="A=B" ` + keys["ed25519"],
		"restrict,from=\"192.0.2.0/24\" " + keys["rsa"],
		// Duffy 3 takes these, and they are in its recordings or in tests of its users.
		"", "k", "key of alice", "Boo!", "ssh-key-of-third", "ssh-rsa AAAA", "ssh-ed25519 AAAA alice@example.net", "ключ",
	} {
		require.NoError(t, tenant.CheckSSHKey(text), text)
	}
}

func TestSSHKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t)
	cut := keys["rsa"][:len(keys["rsa"])-20]
	const notWhole = "this is no public key that is whole"
	for text, want := range map[string]string{
		cut:                                  "line 1: " + notWhole,
		cut + " alice@example.net":           "line 1: " + notWhole,
		keys["rsa"] + "\n\n" + cut:           "line 3: " + notWhole,
		"no-pty " + cut:                      "line 1: " + notWhole,
		keys["ed25519"][:40] + "\n" + "rest": "line 1: " + notWhole,
		strings.Replace(keys["ed25519"], "ssh-ed25519", "ssh-rsa", 1):     "line 1: " + notWhole,
		strings.Replace(keys["ed25519"], "ssh-ed25519", "ssh-ed25518", 1): "line 1: " + notWhole,
		strings.Replace(keys["rsa"], "QAB", "Q\nAB", 1):                   "line 1: " + notWhole,
		privateKey(t): "line 1: this is a private key",
		"mine: " + strings.ReplaceAll(privateKey(t), "\n", " "): "line 1: this is a private key",
		"-----BEGIN RSA PRIVATE KEY-----\nsecret":               "line 1: this is a private key",
		"PuTTY-User-Key-File-3: ssh-ed25519\nsecret":            "line 1: this is a private key",
		"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA":                 "line 1: this is not the form of OpenSSH",
		"-----BEGIN PUBLIC KEY-----\nAAAA":                      "line 1: this is not the form of OpenSSH",
		keys["rsa"] + "\n### DUFFY tenant credentials\n":        "line 2: this is how Duffy marks keys",
		keys["rsa"] + " \x00":                                   "line 1: has control characters",
		"k\x1b[2J":                                              "line 1: has control characters",
		keys["rsa"] + "\r" + keys["ed25519"]:                    "line 1: has control characters",
		"k\xff":                                                 "is not in UTF-8",
	} {
		err := tenant.CheckSSHKey(text)
		require.ErrorIs(t, err, fault.Invalid, text)
		require.ErrorContains(t, err, "ssh_key: "+want, text)
		for _, word := range strings.Fields(text) {
			if len(word) > 20 {
				require.NotContains(t, err.Error(), word)
			}
		}
	}
}

func TestBadSSHKeysAreNotStored(t *testing.T) {
	t.Parallel()
	s := tenant.New(dbtest.SQLite(t).DB, tenant.Config{BcryptCost: bcrypt.MinCost})
	bad, good := privateKey(t), publicKeys(t)["ed25519"]
	_, _, err := s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: bad})
	require.ErrorIs(t, err, fault.Invalid)
	err = s.Import(t.Context(), []tenant.Import{{Tenant: tenant.Tenant{Name: "alice", SSHKey: bad}, Key: "key"}})
	require.ErrorIs(t, err, fault.Invalid)
	require.ErrorContains(t, err, "tenant alice: ssh_key: line 1")
	alice, _, err := s.Create(t.Context(), tenant.Tenant{Name: "alice", SSHKey: good})
	require.NoError(t, err)
	_, _, err = s.Update(t.Context(), alice.ID, tenant.Update{SSHKey: &bad})
	require.ErrorIs(t, err, fault.Invalid)
	alice, err = s.Get(t.Context(), alice.ID)
	require.NoError(t, err)
	require.Equal(t, good, alice.SSHKey)
}

// FuzzCheckSSHKey has no line taken that would be more than one on a node, and
// nothing told of what was refused.
func FuzzCheckSSHKey(f *testing.F) {
	for _, key := range publicKeys(f) {
		f.Add(key)
		f.Add("no-pty,command=\"x y\" " + key + " comment\r\n# more\n" + key[:len(key)-9])
	}
	f.Add(privateKey(f))
	f.Add("### DUFFY tenant credentials")
	f.Add("ssh-rsa\x00AAAA\r")
	f.Fuzz(func(t *testing.T, text string) {
		err := tenant.CheckSSHKey(text)
		if err != nil {
			require.ErrorIs(t, err, fault.Invalid)
			require.Less(t, len(err.Error()), 200)
			for _, word := range strings.Fields(text) {
				if len(word) > 20 {
					require.NotContains(t, err.Error(), word)
				}
			}
			return
		}
		require.NotContains(t, text, "### DUFFY tenant credentials")
		require.NotContains(t, text, "PRIVATE KEY-----")
		require.NotContains(t, strings.ReplaceAll(text, "\r\n", "\n"), "\x00")
		require.NoError(t, tenant.CheckSSHKey(strings.TrimSpace(text)), "how it is stored on nodes")
	})
}
