package config

import (
	"regexp"
	"slices"
	"strconv"
)

// A File is one that was read.
type File struct {
	Name    string
	Secrets bool // it has passwords, keys or the like in it
}

// Files returns what was read, in order.
func (f *Files) Files() []File { return slices.Clone(f.files) }

var (
	// secretURL is one with a password in it.
	secretURL = regexp.MustCompile(`://[^/@\s]*:[^@\s]+@|[?&]password=.`)

	// secretName is what secrets are called among variables of playbooks, whose
	// meaning only these know.
	secretName = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|credential|api_?key|access_?key|private_?key)s?$`)
)

// hasSecrets tells whether there are secrets in a document, at path within it.
func (v *value) hasSecrets(path []string) bool {
	for _, key := range v.keys {
		if v.fields[key].hasSecrets(below(path, key)) {
			return true
		}
	}
	for i, item := range v.list {
		if item.hasSecrets(below(path, strconv.Itoa(i))) {
			return true
		}
	}
	if v.isNull() || v.scalar == "" || len(path) < 2 || v.isMapping() || v.isList() {
		return false
	}
	text, _ := v.scalar.(string)
	return secretURL.MatchString(text) ||
		slices.Equal(path, []string{"client", "auth", "key"}) ||
		path[0] == "metaclient" && path[1] == "usermap" ||
		path[0] == "nodepools" && secretName.MatchString(path[len(path)-1])
}
