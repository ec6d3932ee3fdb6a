package tenant

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/internal/fault"
)

// credentialsMark begins what is the tenant's in authorized_keys, and is removed
// with it. See package backend/ssh.
const credentialsMark = "### DUFFY tenant credentials"

// keyTypes are the first words of public keys, after options if there are any.
var keyTypes = []string{
	ssh.KeyAlgoRSA, "ssh-dss", ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoED25519,
	ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoSKED25519,
}

// CheckSSHKey returns a fault.Invalid, which names the line but not its content,
// if text must not be put into an authorized_keys file, or was meant to be a
// public key and is none. Anything else is taken as Duffy 3 took it, even what
// lets nobody in.
func CheckSSHKey(text string) error {
	if !utf8.ValidString(text) {
		return fault.Newf(fault.Invalid, "ssh_key: is not in UTF-8")
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if wrong := wrongWithKey(strings.TrimRight(line, "\r\n")); wrong != "" {
			return fault.Newf(fault.Invalid, "ssh_key: line %d: %s", number, wrong)
		}
	}
	return nil
}

// wrongWithKey says what is wrong with a line, "" if nothing is.
func wrongWithKey(line string) string {
	words := strings.Fields(line)
	switch {
	case strings.Contains(line, "PRIVATE KEY-----") || strings.HasPrefix(line, "PuTTY-User-Key-File"):
		return "this is a private key, which nobody else must know: use the public one, in the file that ends in .pub"
	case strings.Contains(line, "---- BEGIN"), strings.Contains(line, "-----BEGIN"):
		return "this is not the form of OpenSSH: ssh-keygen -i makes it of others"
	case strings.Contains(line, credentialsMark):
		return "this is how Duffy marks keys of tenants itself, leave it out"
	case strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
		return "has control characters in it"
	case len(words) == 0 || strings.HasPrefix(words[0], "#"):
		return ""
	case meantAsKey(words) && !letsIn(line):
		return "this is no public key that is whole: a part is missing, or it was changed"
	}
	return ""
}

// meantAsKey tells whether the words of a line are the type of a key and then so
// much of a key that it is no placeholder like "ssh-rsa AAAA", which Duffy 3 takes
// and scripts rely on. The shortest keys have 68 characters there.
func meantAsKey(words []string) bool {
	const placeholder = 20
	for i, word := range words[:len(words)-1] {
		first := i == 0 && (strings.HasPrefix(word, "ssh-") || strings.HasPrefix(word, "ecdsa-") || strings.HasPrefix(word, "sk-"))
		if (first || slices.Contains(keyTypes, word)) && len(words[i+1]) > placeholder {
			return true
		}
	}
	return false
}

// letsIn tells whether sshd finds a public key in text.
func letsIn(text string) bool {
	_, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	return err == nil
}
