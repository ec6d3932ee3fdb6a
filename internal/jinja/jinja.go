// Package jinja renders the Jinja2 templates of Duffy's configuration, which
// were written for Python's jinja2: pools' extra-vars and reuse-nodes, and the
// legacy service's poolmap.
//
// It knows filters, tests, methods, and the statements if, for, set, with,
// filter and raw. Templates cannot reach anything but their variables: there are
// no includes, and no macros, since those can recurse without end. What is
// undefined renders as nothing, booleans and null as True, False and None, and
// one newline at the end of a template is dropped. Known differences: maps are
// ordered by key; null equals none but not None; the operator % does not format
// strings.
package jinja

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// endlessNumber is what gonja's lexer would read for ever.
var endlessNumber = regexp.MustCompile(`\pN\.+[^\x00-\x7f]`)

// maxSource keeps templates from exhausting the stack with nested parentheses.
const maxSource = 16 << 10

// A Template is a compiled template. It may be used concurrently.
type Template struct{ parsed *exec.Template }

// Compile prepares source for rendering. Its error tells the line and column but
// not the text there: any setting may be a template, passwords too.
func Compile(source string) (t *Template, err error) {
	defer recoverTo(&err)
	if len(source) > maxSource {
		return nil, fmt.Errorf("template is longer than %d bytes", maxSource)
	}
	if strings.Contains(source, "{") && endlessNumber.MatchString(source) {
		return nil, errors.New("a digit and a point are followed by a character that is not ASCII")
	}
	const name = "/template"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	parsed, err := exec.NewTemplate(name, config.New(), loader, environment())
	if err != nil {
		return nil, syntaxError(err)
	}
	return &Template{parsed}, nil
}

// Render returns the text of the template with vars, which it does not change.
func (t *Template) Render(vars map[string]any) (text string, err error) {
	defer recoverTo(&err)
	data := make(map[string]any, len(vars))
	for name, value := range vars {
		data[name] = toPython(value)
	}
	return t.parsed.ExecuteToString(exec.NewContext(data))
}

// RenderAll returns obj with the templates in it rendered. As in Duffy 3 these
// are obj itself or the values of maps at any depth, if they are strings;
// anything else stays as it is, lists with all that they contain too.
func RenderAll(obj any, vars map[string]any) (any, error) {
	switch obj := obj.(type) {
	case string:
		t, err := Compile(obj)
		if err != nil {
			return nil, err
		}
		return t.Render(vars)
	case map[string]any:
		rendered := make(map[string]any, len(obj))
		for key, value := range obj {
			var err error
			if rendered[key], err = RenderAll(value, vars); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		return rendered, nil
	default:
		return obj, nil
	}
}

func syntaxError(err error) error {
	var syntax *parser.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		return errors.Unwrap(err) // without the source
	case syntax.Line == 0:
		return errors.New(syntax.Message)
	default:
		return fmt.Errorf("line %d, column %d: %s", syntax.Line, syntax.Column, syntax.Message)
	}
}

func recoverTo(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("template makes no sense: %v", r)
	}
}
