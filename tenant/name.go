package tenant

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/duffy-ci/duffy/internal/fault"
)

// nameMax is how many characters the name of a tenant may have.
const nameMax = 255

// checkName returns a fault.Invalid unless a tenant called name can log in, and its
// name can be printed. Duffy 3 takes any text; tenants that it made keep their names.
func checkName(name string) error {
	switch {
	case name == "":
		return fault.Newf(fault.Invalid, "name: a tenant needs one")
	case utf8.RuneCountInString(name) > nameMax:
		return fault.Newf(fault.Invalid, "name: it is longer than %d characters", nameMax)
	case strings.Contains(name, ":"):
		return fault.Newf(fault.Invalid, "name: a tenant with a colon in its name could not log in")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fault.Newf(fault.Invalid, "name: it has characters that cannot be printed")
	}
	return nil
}
