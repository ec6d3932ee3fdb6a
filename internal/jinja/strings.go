package jinja

import (
	"errors"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

const whitespace = " \t\n\r\v\f"

// stringMethods are Python's methods of strings that gonja has not, or has with
// other arguments or results.
var stringMethods = map[string]exec.Method[string]{
	"count":   count,
	"lstrip":  strip(strings.TrimLeft),
	"replace": replace,
	"rsplit":  split(splitRight),
	"rstrip":  strip(strings.TrimRight),
	"split":   split(splitLeft),
	"strip":   strip(strings.Trim),
}

func count(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
	var sub string
	err := args.Take(exec.PositionalArgument("sub", nil, exec.StringArgument(&sub)))
	return strings.Count(self, sub), err
}

func replace(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
	var from, to string
	var limit int
	err := args.Take(
		exec.PositionalArgument("old", nil, exec.StringArgument(&from)),
		exec.PositionalArgument("new", nil, exec.StringArgument(&to)),
		exec.PositionalArgument("count", exec.AsValue(-1), exec.IntArgument(&limit)),
	)
	return strings.Replace(self, from, to, limit), err
}

func strip(trim func(s, chars string) string) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		var chars string
		err := args.Take(exec.PositionalArgument("chars", exec.AsValue(whitespace), exec.StringArgument(&chars)))
		return trim(self, chars), err
	}
}

// split makes a method of cut, which splits at the separator at most limit times.
func split(cut func(s, sep string, limit int) []string) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		var sep string
		var limit int
		err := args.Take(
			exec.KeywordArgument("sep", exec.AsValue(""), exec.StringArgument(&sep)),
			exec.KeywordArgument("maxsplit", exec.AsValue(-1), exec.IntArgument(&limit)),
		)
		switch {
		case err != nil:
			return nil, err
		case sep != "" && limit >= 0:
			return list(cut(self, sep, limit)), nil
		case sep != "":
			return list(strings.Split(self, sep)), nil
		case limit >= 0:
			return nil, errors.New("maxsplit needs a separator")
		default:
			return list(strings.Fields(self)), nil
		}
	}
}

func splitLeft(s, sep string, limit int) []string { return strings.SplitN(s, sep, limit+1) }

func splitRight(s, sep string, limit int) []string {
	parts := strings.Split(s, sep)
	if len(parts) <= limit+1 {
		return parts
	}
	kept := len(parts) - limit
	return append([]string{strings.Join(parts[:kept], sep)}, parts[kept:]...)
}

// list returns what the methods of lists work on.
func list(parts []string) []any {
	items := make([]any, len(parts))
	for i, part := range parts {
		items[i] = part
	}
	return items
}
