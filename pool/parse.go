package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/internal/duration"
	"github.com/duffy-ci/duffy/internal/jinja"
)

// A ConfigError tells what is wrong with the configuration of a pool.
type ConfigError struct {
	Pool string   // the first that is wrong, if others inherit the mistake
	Path []string // of the wrong setting below nodepools, see [Origin]
	Err  error
}

func (e *ConfigError) Error() string {
	return "nodepools." + strings.Join(e.Path, ".") + ": " + e.Err.Error()
}

func (e *ConfigError) Unwrap() error { return e.Err }

// Parse makes pools of their configuration, in the same order. A pool may extend
// any number of others, abstract or not, that come before it or after it. It has
// their settings, merged as deep as there are mappings: those of later ones hide
// those of earlier ones, and its own hide them all. As a precaution a mapping
// and something else cannot hide each other, unless that is null or false.
//
// Settings that are not known are for templates to refer to. Templates in
// reuse-nodes are rendered; abstract pools may lack what these refer to, so they
// get no ReuseNodes. The error joins one [*ConfigError] for each mistake.
func Parse(raw []Raw) (*Set, error) {
	p := &parser{raw: raw, inherited: map[string]map[string]any{}, failed: map[string]bool{}}
	var configs []Config
	for i := range raw {
		r := &raw[i]
		if find(raw, r.Name) != r {
			err := errors.New("there is another pool of this name")
			p.errs = append(p.errs, &ConfigError{r.Name, r.path(), err})
			continue
		}
		if _, set := r.Settings["name"]; set {
			p.fail(r, errors.New("is reserved for the name of the pool, choose another"), "name")
		}
		if settings := p.inherit(r, nil); settings != nil {
			configs = append(configs, p.config(r, settings))
		}
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return NewSet(configs...)
}

type parser struct {
	raw       []Raw
	inherited map[string]map[string]any // settings by pool, nil for those that make no sense
	errs      []error
	failed    map[string]bool // errors that other pools inherit
}

// fail notes what is wrong with the setting of r that has this path.
func (p *parser) fail(r *Raw, err error, path ...string) {
	e := &ConfigError{r.Name, Origin(p.raw, r.Name, path...), err}
	if text := e.Error(); !p.failed[text] {
		p.failed[text] = true
		p.errs = append(p.errs, e)
	}
}

// config reads settings, which are those of r with what it inherits.
func (p *parser) config(r *Raw, settings map[string]any) Config {
	c := Config{Name: r.Name, Abstract: r.Abstract, Vars: settings}
	c.FillLevel = p.fillLevel(r, settings)
	c.ReuseNodes = p.reuseNodes(r, settings)
	c.Together = !p.runParallel(r, settings)
	c.ProvisionTimeout = p.timeout(r, settings, "provision-timeout")
	c.DeprovisionTimeout = p.timeout(r, settings, "deprovision-timeout")
	c.OnInterrupted = p.onInterrupted(r, settings)
	c.Backend, c.Settings = p.mechanism(r, settings)
	return c
}

func (p *parser) fillLevel(r *Raw, settings map[string]any) *int {
	const key = "fill-level"
	if settings[key] == nil {
		return nil
	}
	n, ok := settings[key].(int64)
	if !ok || n < 1 {
		p.fail(r, fmt.Errorf("expected a whole number of at least 1, found %s", show(settings[key])), key)
	}
	level := int(n)
	return &level
}

func (p *parser) reuseNodes(r *Raw, settings map[string]any) map[string]any {
	const key = "reuse-nodes"
	if isOff(settings[key]) {
		return nil
	}
	criteria, ok := settings[key].(map[string]any)
	if !ok {
		p.fail(r, fmt.Errorf("expected false or what the data of a node must be, found %s", show(settings[key])), key)
	}
	reuse := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(criteria)) {
		var err error
		switch criterion := criteria[name].(type) {
		case nil: // a pool does without what another one demands
			continue
		case int64:
			reuse[name] = criterion
		case string:
			reuse[name], err = render(criterion, r, settings)
		default:
			err = fmt.Errorf("expected a string or a whole number, found %s", show(criterion))
		}
		if err != nil {
			p.fail(r, err, key, name)
		}
	}
	if r.Abstract {
		return nil
	}
	return reuse
}

func render(source string, r *Raw, vars map[string]any) (string, error) {
	template, err := jinja.Compile(source)
	if err != nil {
		return "", fmt.Errorf("is no Jinja2 template: %w", err)
	}
	if r.Abstract {
		return "", nil
	}
	text, err := template.Render(vars)
	if err != nil {
		return "", fmt.Errorf("cannot be rendered for pool %q: %w", r.Name, err)
	}
	return text, nil
}

func (p *parser) runParallel(r *Raw, settings map[string]any) bool {
	const key = "run-parallel"
	if settings[key] == nil {
		return true
	}
	parallel, ok := settings[key].(bool)
	if !ok {
		p.fail(r, fmt.Errorf("expected true or false, found %s", show(settings[key])), key)
	}
	return parallel
}

func (p *parser) timeout(r *Raw, settings map[string]any, key string) time.Duration {
	if settings[key] == nil {
		return 0
	}
	d, err := duration.Parse(fmt.Sprint(settings[key]))
	if err != nil {
		p.fail(r, fmt.Errorf("%w, found %s", err, show(settings[key])), key)
	}
	return d
}

func (p *parser) onInterrupted(r *Raw, settings map[string]any) string {
	const key = "on-interrupted"
	switch action := settings[key]; action {
	case nil:
		return ""
	case OnInterruptedFail, OnInterruptedRetry:
		return action.(string)
	default:
		p.fail(r, fmt.Errorf("expected %s or %s, found %s", OnInterruptedFail, OnInterruptedRetry, show(action)), key)
		return ""
	}
}

// mechanism returns the name of the backend and its settings. There may be
// settings of other backends beside them.
func (p *parser) mechanism(r *Raw, settings map[string]any) (backend string, own map[string]any) {
	const key = "mechanism"
	mechanism, ok := settings[key].(map[string]any)
	if !ok && settings[key] != nil {
		p.fail(r, fmt.Errorf("expected a mapping, found %s", show(settings[key])), key)
		return "", nil
	}
	for _, name := range slices.Sorted(maps.Keys(mechanism)) {
		value := mechanism[name]
		switch section, isMap := value.(map[string]any); {
		...
	}
}

// show writes a value that is no secret.
func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%v", value)
	}
	return string(text)
}
