package jinja

import (
	"errors"
	"maps"
	"sync"

	"github.com/nikolalohinski/gonja/v2/builtins"
	structures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// environment holds what templates may use: of gonja's builtins those that
// neither reach outside nor can run without end, some replaced because they
// differ from Python's in ways that configurations would notice.
var environment = sync.OnceValue(func() *exec.Environment {
	statements := map[string]parser.ControlStructureParser{"for": parseFor}
	for _, name := range []string{"filter", "if", "raw", "set", "with"} {
		statements[name], _ = builtins.ControlStructures.Get(name)
	}

	globals := map[string]any{"none": none(0), "range": countTo}
	for _, name := range []string{"dict", "namespace"} {
		globals[name], _ = builtins.GlobalFunctions.Get(name)
	}

	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	filters.Update(exec.NewFilterSet(map[string]exec.FilterFunction{
		"d":       filterDefault,
		"default": filterDefault,
		"reverse": filterReverse,
	}))

	tests := exec.NewTestSet(map[string]exec.TestFunction{}).Update(builtins.Tests)
	tests.Update(exec.NewTestSet(map[string]exec.TestFunction{"none": testNone}))

	strings := map[string]exec.Method[string]{}
	for _, name := range []string{
		"capitalize", "casefold", "center", "endswith", "find", "format", "isalnum", "isalpha",
		"isdecimal", "isdigit", "islower", "isnumeric", "isspace", "isupper", "join", "ljust",
		"lower", "partition", "removeprefix", "removesuffix", "rfind", "rjust", "rpartition",
		"splitlines", "startswith", "swapcase", "title", "upper", "zfill",
	} {
		strings[name], _ = builtins.Methods.Str.Get(name)
	}
	maps.Copy(strings, stringMethods)
	methods := builtins.Methods
	methods.Str = exec.NewMethodSet(strings)

	return &exec.Environment{
		Context:           exec.NewContext(globals),
		ControlStructures: exec.NewControlStructureSet(statements),
		Filters:           filters,
		Tests:             tests,
		Methods:           methods,
	}
})

// parseFor refuses loops that call themselves, whose depth nothing would limit.
func parseFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	parse, _ := builtins.ControlStructures.Get("for")
	parsed, err := parse(p, args)
	if loop, ok := parsed.(*structures.ForControlStructure); ok && loop.Recursive {
		return nil, errors.New("recursive loops are not supported")
	}
	return parsed, err
}
