package ssh

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzOthers has nodes print anything around, before and in place of what the script
// prints. No output proves anything without the random words in their order.
func FuzzOthers(f *testing.F) {
	f.Add("welcome", "ssh-ed25519 AAAA", "")
	f.Add("\nNONCEPROOF has\n", "\nNONCEPROOF ends\n", "NONCEPROOF has too much\n")
	f.Add("PROOF\nNONCE\n", "has too much", "\r\n")
	f.Fuzz(func(t *testing.T, before, keys, after string) {
		s := script{proof: "PROOF", nonce: "NONCE"}
		keys = strings.TrimRight(keys, "\n") // as shells do
		for _, text := range []string{before, keys, after, s.text()} {
			text = strings.ReplaceAll(text, s.nonce+s.proof, "")
			_, err := s.others(text)
			require.ErrorIs(t, err, errUnproven)
		}
		if strings.Contains(before+"\n"+keys+"\n"+after, s.nonce+s.proof) {
			_, _ = s.others(before + keys + after)
			return
		}
		seen, err := s.others("\nNONCEPROOF has\n" + keys + "\nNONCEPROOF ends\n")
		require.NoError(t, err)
		require.Len(t, seen.hash(), 64)
		again, err := s.others(before + "\nNONCEPROOF has\n" + keys + "\nNONCEPROOF ends\n" + after)
		require.NoError(t, err)
		require.Equal(t, seen, again)
		other, err := s.others("\nNONCEPROOF has\n" + keys + "#\nNONCEPROOF ends\n")
		require.NoError(t, err)
		require.NotEqual(t, seen.hash(), other.hash())
		seen, err = s.others(before + "\nNONCEPROOF has too much\nNONCEPROOF ends\n" + after)
		require.NoError(t, err)
		require.Empty(t, seen.hash())
	})
}
