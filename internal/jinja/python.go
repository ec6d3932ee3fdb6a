package jinja

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// none is Python's None, which unlike what is undefined has a text and equals
// itself. A complex number has neither length nor items nor truth in gonja, so
// that nothing but the text is left to define.
type none complex64

func (none) String() string               { return "None" }
func (none) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// toPython returns value as templates are to see it, and copied, because list
// methods work in place.
func toPython(value any) any {
	switch value := value.(type) {
	case nil:
		return none(0)
	case map[string]any:
		copied := make(map[string]any, len(value))
		for key, item := range value {
			copied[key] = toPython(item)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, item := range value {
			copied[i] = toPython(item)
		}
		return copied
	case json.Number:
		if i, err := value.Int64(); err == nil {
			return i
		}
		f, _ := value.Float64()
		return f
	default:
		return value
	}
}

func testNone(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) (bool, error) {
	return in.Interface() == any(none(0)), nil
}

// filterDefault is jinja2's default(value=”, boolean=False).
func filterDefault(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	fallback := exec.AsValue("")
	boolean := false
	err := params.Take(
		exec.KeywordArgument("default_value", fallback, func(v *exec.Value) error { fallback = v; return nil }),
		exec.KeywordArgument("boolean", exec.AsValue(false), exec.BoolArgument(&boolean)),
	)
	if err != nil {
		return exec.AsValue(exec.ErrInvalidCall(err))
	}
	if in.IsNil() || in.IsError() || boolean && !in.IsTrue() {
		return fallback
	}
	return in
}

func filterReverse(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	if in.IsString() {
		runes := []rune(in.String())
		slices.Reverse(runes)
		return exec.AsValue(string(runes))
	}
	var items []any
	in.Iterate(func(_, _ int, item, _ *exec.Value) bool {
		items = append(items, item.Interface())
		return true
	}, func() {})
	slices.Reverse(items)
	return exec.AsValue(items)
}

// maxRange is how far range counts, as in jinja2's sandbox.
const maxRange = 100_000

// countTo is Python's range(stop), range(start, stop) and range(start, stop, step).
func countTo(_ *exec.Evaluator, params *exec.VarArgs) (*exec.Value, error) {
	var args []int
	for _, arg := range params.Args {
		if !arg.IsInteger() {
			return nil, fmt.Errorf("range: %s is not an integer", arg)
		}
		args = append(args, arg.Integer())
	}
	start, stop, step := 0, 0, 1
	switch len(args) {
	case 1:
		stop = args[0]
	case 2:
		start, stop = args[0], args[1]
	case 3:
		start, stop, step = args[0], args[1], args[2]
	default:
		return nil, errors.New("range takes one to three integers")
	}
	if step == 0 {
		return nil, errors.New("range: the step is zero")
	}
	numbers := []int{}
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		if len(numbers) == maxRange {
			return nil, fmt.Errorf("range counts more than %d", maxRange)
		}
		numbers = append(numbers, i)
	}
	return exec.AsValue(numbers), nil
}
