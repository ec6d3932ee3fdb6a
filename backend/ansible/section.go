package ansible

import (
	"fmt"
	"maps"
	"slices"

	"github.com/duffy-ci/duffy/backend"
)

// A section is a mapping in the settings, which knows where it is.
type section struct {
	path   []string
	values map[string]any
	errs   *[]error // what is wrong, here and elsewhere
}

func rootSection(values map[string]any) section {
	return section{path: []string{"mechanism", "ansible"}, values: values, errs: new([]error)}
}

func (s section) wrong(key, format string, args ...any) {
	*s.errs = append(*s.errs, &backend.SettingError{Path: s.at(key), Err: fmt.Errorf(format, args...)})
}

func (s section) at(key string) []string { return append(slices.Clone(s.path), key) }

// only complains about keys other than the known ones.
func (s section) only(known ...string) {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if !slices.Contains(known, key) {
			s.wrong(key, "unknown setting, there are %q", known)
		}
	}
}

// text returns a string that must be there.
func (s section) text(key string) string {
	switch value := s.values[key].(type) {
	case nil:
		s.wrong(key, "is missing")
	case string:
		if value == "" {
			s.wrong(key, "is empty")
		}
		return value
	default:
		s.wrong(key, "must be a string")
	}
	return ""
}

// section returns the mapping at key. It is empty if there is none.
func (s section) section(key string) section {
	below := section{path: s.at(key), errs: s.errs}
	switch value := s.values[key].(type) {
	case nil:
	case map[string]any:
		below.values = value
	default:
		s.wrong(key, "must be a mapping")
	}
	return below
}
