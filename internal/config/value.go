package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Error tells what is wrong with a setting.
type Error struct {
	Place string   // file:line, or "" if it stands nowhere
	Path  []string // of its keys, none for a file as a whole
	Err   error
}

func (e *Error) Error() string {
	text := e.Err.Error()
	if len(e.Path) > 0 {
		text = pathString(e.Path) + ": " + text
	}
	if e.Place != "" {
		text = e.Place + ": " + text
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// pathString writes a path, but not the keys of the user map: they are secrets.
func pathString(path []string) string {
	if len(path) == 3 && path[0] == "metaclient" && path[1] == "usermap" {
		path = []string{path[0], path[1], "**********"}
	}
	return strings.Join(path, ".")
}

// below returns path with key at its end, and leaves path alone.
func below(path []string, key string) []string { return append(slices.Clip(path), key) }

type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// A value of a YAML document knows its place, which is that of its key if it is
// in a mapping. It is a mapping if it has fields, a list if it has a list that
// is not nil, and a scalar otherwise.
type value struct {
	at     place
	keys   []string // of fields, in order
	fields map[string]*value
	list   []*value
	scalar any // nil, bool, int64, float64 or string
}

func newMapping(at place) *value { return &value{at: at, fields: map[string]*value{}} }

func (v *value) isMapping() bool { return v.fields != nil }

func (v *value) isList() bool { return v.list != nil }

func (v *value) isNull() bool { return !v.isMapping() && !v.isList() && v.scalar == nil }

// set adds a field or replaces it, in which case it keeps its place among keys.
func (v *value) set(key string, field *value) {
	if v.fields[key] == nil {
		v.keys = append(v.keys, key)
	}
	v.fields[key] = field
}

// find returns the value at the end of path, or nil.
func (v *value) find(path ...string) *value {
	for _, key := range path {
		if index, err := strconv.Atoi(key); err == nil && index >= 0 && index < len(v.list) {
			v = v.list[index]
		} else if v = v.fields[key]; v == nil {
			return nil
		}
	}
	return v
}

// plain returns v as Go's own types.
func (v *value) plain() any {
	switch {
	case v.isMapping():
		fields := make(map[string]any, len(v.fields))
		for key, field := range v.fields {
			fields[key] = field.plain()
		}
		return fields
	case v.isList():
		list := make([]any, len(v.list))
		for i, item := range v.list {
			list[i] = item.plain()
		}
		return list
	default:
		return v.scalar
	}
}

// kind says what v is, but not its text.
func (v *value) kind() string {
	switch scalar := v.scalar.(type) {
	case string:
		return "a string"
	case int64, float64:
		return "a number"
	case bool:
		return strconv.FormatBool(scalar)
	}
	switch {
	case v.isMapping():
		return "a mapping"
	case v.isList():
		return "a list"
	default:
		return "nothing"
	}
}

// show is kind with the text of scalars, for where no secrets are expected.
func (v *value) show() string {
	switch scalar := v.scalar.(type) {
	case string:
		return strconv.Quote(scalar)
	case int64, float64:
		return fmt.Sprint(scalar)
	default:
		return v.kind()
	}
}

// merge merges the mapping from into the mapping into. A mapping never takes the
// place of something else, nor something else that of a mapping.
func merge(into, from *value, path []string) error {
	var errs []error
	for _, key := range from.keys {
		before, now, path := into.fields[key], from.fields[key], below(path, key)
		switch {
		case before == nil || before.isNull() || !before.isMapping() && !now.isMapping():
			into.set(key, now)
		case before.isMapping() && now.isMapping():
			errs = append(errs, merge(before, now, path))
			before.at = now.at
		default:
			err := fmt.Errorf("is %s here but %s at %s", now.kind(), before.kind(), before.at)
			errs = append(errs, &Error{now.at.String(), path, err})
		}
	}
	return errors.Join(errs...)
}
