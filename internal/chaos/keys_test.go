package chaos_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// A key is one to log in with.
type key struct {
	ssh.Signer
	authorized string // its public half
}

// newKey makes a key, and a file of it if that has a name.
func newKey(t *testing.T, file string) key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	if file != "" {
		block, err := ssh.MarshalPrivateKey(private, "")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return key{signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
}
