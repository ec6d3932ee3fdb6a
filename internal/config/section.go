package config

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/internal/duration"
)

// A section reads a mapping. Its methods return the setting called key, or
// otherwise if it is not set or wrong, which is noted in errs then. What none of
// them asked for before end is called is an unknown key.
type section struct {
	value *value // nil if there is no such section
	path  []string
	errs  *[]error
	known []string
}

func (s *section) fail(v *value, key, format string, args ...any) {
	*s.errs = append(*s.errs, &Error{v.at.String(), below(s.path, key), fmt.Errorf(format, args...)})
}

// get returns the setting, or nil if there is none or it is null.
func (s *section) get(key string) *value {
	s.known = append(s.known, key)
	if s.value == nil || s.value.fields[key] == nil || s.value.fields[key].isNull() {
		return nil
	}
	return s.value.fields[key]
}

// end reports keys that are not known.
func (s *section) end() {
	for _, key := range s.keys() {
		if !slices.Contains(s.known, key) {
			s.fail(s.value.fields[key], key, "unknown key, expected one of %s", strings.Join(s.known, ", "))
		}
	}
}

// section returns the section called key, without a value if it is not set.
func (s *section) section(key string) *section {
	v := s.get(key)
	if v != nil && !v.isMapping() {
		s.fail(v, key, "expected a mapping, found %s", v.kind())
		v = nil
	}
	return &section{value: v, path: below(s.path, key), errs: s.errs}
}

func (s *section) text(key, otherwise string) string {
	v := s.get(key)
	if v == nil {
		return otherwise
	}
	text, ok := v.scalar.(string)
	switch {
	case ok:
		return text
	case v.isMapping() || v.isList():
		s.fail(v, key, "expected a string, found %s", v.kind())
	default:
		s.fail(v, key, "expected a string, found %s: put it in quotes", v.kind())
	}
	return otherwise
}

func (s *section) oneOf(key, otherwise string, choices ...string) string {
	text := s.text(key, otherwise)
	if text != otherwise && !slices.Contains(choices, text) {
		s.fail(s.value.fields[key], key, "expected one of %s, found %q", strings.Join(choices, ", "), text)
		return otherwise
	}
	return text
}

// choice reads one of several words, true and false among them whatever YAML calls
// them. It is empty if the setting is not there or wrong.
func (s *section) choice(key string, choices ...string) string {
	v := s.get(key)
	if v == nil {
		return ""
	}
	text := fmt.Sprint(v.scalar)
	if !slices.Contains(choices, text) {
		s.fail(v, key, "expected one of %s, found %s", strings.Join(choices, ", "), v.show())
		return ""
	}
	return text
}

// url reads a URL with one of the schemes.
func (s *section) url(key, otherwise string, schemes ...string) string {
	text := s.text(key, otherwise)
	if text == otherwise {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Path == "" {
		s.fail(s.value.fields[key], key, "expected a URL that begins with %s://", strings.Join(schemes, ":// or "))
		return otherwise
	}
	return text
}

// beginning reads what begins like a URL with one of the schemes, and need not be
// one: several hosts with ports are not.
func (s *section) beginning(key string, schemes ...string) string {
	text := s.text(key, "")
	scheme, rest, _ := strings.Cut(text, "://")
	if text != "" && (rest == "" || !slices.Contains(schemes, scheme)) {
		s.fail(s.value.fields[key], key, "expected a URL that begins with %s://", strings.Join(schemes, ":// or "))
		return ""
	}
	return text
}

func (s *section) number(key string, least, most, otherwise int) int {
	v := s.get(key)
	if v == nil {
		return otherwise
	}
	n, err := strconv.Atoi(fmt.Sprint(v.scalar))
	if err != nil || n < least || n > most {
		s.fail(v, key, "expected a whole number %s, found %s", between(least, most), v.show())
		return otherwise
	}
	return n
}

func between(least, most int) string {
	if most == math.MaxInt {
		return fmt.Sprintf("of at least %d", least)
	}
	return fmt.Sprintf("from %d to %d", least, most)
}

func (s *section) duration(key string, otherwise time.Duration) time.Duration {
	v := s.get(key)
	if v == nil {
		return otherwise
	}
	d, err := duration.Parse(fmt.Sprint(v.scalar))
	if err != nil {
		s.fail(v, key, "%w, found %s", err, v.show())
		return otherwise
	}
	return d
}

func (s *section) flag(key string, otherwise bool) bool {
	v := s.get(key)
	if v == nil {
		return otherwise
	}
	flag, ok := v.scalar.(bool)
	if !ok {
		s.fail(v, key, "expected true or false, found %s", v.show())
		return otherwise
	}
	return flag
}

// list returns a list as a section with the keys "0", "1" and so on, without
// what is null in it.
func (s *section) list(key string) *section {
	items := &section{path: below(s.path, key), errs: s.errs}
	v := s.get(key)
	switch {
	case v == nil:
	case !v.isList():
		s.fail(v, key, "expected a list, found %s", v.kind())
	default:
		items.value = newMapping(v.at)
		for i, item := range v.list {
			if !item.isNull() {
				items.value.set(strconv.Itoa(i), item)
			}
		}
	}
	return items
}

// networks reads a list of networks like 192.0.2.0/24, or single addresses. It is
// nil only if the list is not there.
func (s *section) networks(key string) []netip.Prefix {
	list := s.list(key)
	if list.value == nil {
		return nil
	}
	networks := []netip.Prefix{}
	for _, index := range list.keys() {
		text := list.text(index, "")
		network, err := netip.ParsePrefix(text)
		if addr, e := netip.ParseAddr(text); e == nil && addr.Zone() == "" {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			list.fail(list.value.fields[index], index, "expected an address or a network like 192.0.2.0/24, found %q", text)
		}
		networks = append(networks, network.Masked())
	}
	return networks
}

// texts returns the strings of a section whose keys are free.
func (s *section) texts() map[string]string {
	texts := map[string]string{}
	for _, key := range s.keys() {
		texts[key] = s.text(key, "")
	}
	return texts
}

func (s *section) keys() []string {
	if s.value == nil {
		return nil
	}
	return s.value.keys
}
