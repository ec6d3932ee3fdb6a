package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/backend"
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

// A reader makes a Config of the settings of a pool and what it inherits.
type reader struct {
	*parser
	raw      *Raw
	settings map[string]any
}

func (p *parser) config(raw *Raw, settings map[string]any) Config {
	r := reader{p, raw, settings}
	backend, own := r.mechanism()
	return Config{
		Name:               raw.Name,
		Abstract:           raw.Abstract,
		FillLevel:          r.fillLevel(),
		ReuseNodes:         r.reuseNodes(),
		Together:           !r.runParallel(),
		ProvisionTimeout:   r.timeout("provision-timeout"),
		DeprovisionTimeout: r.timeout("deprovision-timeout"),
		OnInterrupted:      r.onInterrupted(),
		HostKeys:           r.hostKeys(),
		Reinstalls:         r.reinstalls(),
		Backend:            backend,
		Settings:           own,
		Vars:               settings,
	}
}

func (r *reader) fail(err error, path ...string) { r.parser.fail(r.raw, err, path...) }

// expected notes that the setting called key is not what it should be.
func (r *reader) expected(what, key string) {
	r.fail(fmt.Errorf("expected %s, found %s", what, show(r.settings[key])), key)
}

func (r *reader) fillLevel() *int {
	const key = "fill-level"
	if r.settings[key] == nil {
		return nil
	}
	n, ok := r.settings[key].(int64)
	if !ok || n < 1 {
		r.expected("a whole number of at least 1", key)
	}
	level := int(n)
	return &level
}

func (r *reader) reuseNodes() map[string]any {
	const key = "reuse-nodes"
	if isOff(r.settings[key]) {
		return nil
	}
	criteria, ok := r.settings[key].(map[string]any)
	if !ok {
		r.expected("false, or what the data of a node must be", key)
	}
	reuse := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(criteria)) {
		var err error
		switch criterion := criteria[name].(type) {
		case nil: // takes away what is inherited
		case int64:
			reuse[name] = criterion
		case string:
			reuse[name], err = r.render(criterion)
		default:
			err = fmt.Errorf("expected a string or a whole number, found %s", show(criterion))
		}
		if err != nil {
			r.fail(err, key, name)
		}
	}
	if r.raw.Abstract {
		return nil
	}
	return reuse
}

// render renders a template, or only compiles it if the pool is abstract.
func (r *reader) render(source string) (string, error) {
	template, err := jinja.Compile(source)
	if err != nil {
		return "", fmt.Errorf("is no Jinja2 template: %w", err)
	}
	if r.raw.Abstract {
		return "", nil
	}
	text, err := template.Render(r.settings)
	if err != nil {
		return "", fmt.Errorf("cannot be rendered for pool %q: %w", r.raw.Name, err)
	}
	return text, nil
}

func (r *reader) runParallel() bool {
	const key = "run-parallel"
	if r.settings[key] == nil {
		return true
	}
	parallel, ok := r.settings[key].(bool)
	if !ok {
		r.expected("true or false", key)
	}
	return parallel
}

func (r *reader) timeout(key string) time.Duration {
	if r.settings[key] == nil {
		return 0
	}
	d, err := duration.Parse(fmt.Sprint(r.settings[key]))
	if err != nil {
		r.fail(fmt.Errorf("%w, found %s", err, show(r.settings[key])), key)
	}
	return d
}

func (r *reader) onInterrupted() string {
	const key = "on-interrupted"
	switch action := r.settings[key]; action {
	case nil:
	case OnInterruptedFail, OnInterruptedRetry:
		return action.(string)
	default:
		r.expected(OnInterruptedFail+" or "+OnInterruptedRetry, key)
	}
	return ""
}

func (r *reader) hostKeys() backend.HostKeys {
	const key = "host-keys"
	text, ok := r.settings[key].(string)
	switch h := backend.HostKeys(text); {
	case r.settings[key] == nil:
	case ok && slices.Contains([]backend.HostKeys{backend.AnyHostKey, backend.FirstHostKey, backend.PinnedHostKeys}, h):
		return h
	default:
		r.expected("any, first-use or pinned", key)
	}
	return ""
}

func (r *reader) reinstalls() *bool {
	const key = "reinstalls"
	if r.settings[key] == nil {
		return nil
	}
	reinstalls, ok := r.settings[key].(bool)
	if !ok {
		r.expected("true or false", key)
	}
	return &reinstalls
}

// mechanism returns the name of the backend and the settings for it. Those for
// other backends may stand beside them.
func (r *reader) mechanism() (backend string, settings map[string]any) {
	const key = "mechanism"
	mechanism, ok := r.settings[key].(map[string]any)
	if !ok && r.settings[key] != nil {
		r.expected("a mapping with the type of a backend and its settings", key)
		return "", nil
	}
	for _, name := range slices.Sorted(maps.Keys(mechanism)) {
		if _, ok := mechanism[name].(map[string]any); !ok && name != "type" && mechanism[name] != nil {
			r.fail(fmt.Errorf("expected a mapping with the settings of a backend called %s", name), key, name)
		}
	}
	backend, ok = mechanism["type"].(string)
	if mechanism["type"] == nil && r.raw.Abstract {
		return "", nil
	}
	if !ok || backend == "" {
		r.fail(errors.New("expected the name of a backend, such as ansible"), key, "type")
	}
	settings, _ = mechanism[backend].(map[string]any)
	return backend, settings
}

// show writes a value that is no secret.
func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
