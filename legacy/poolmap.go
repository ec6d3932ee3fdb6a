package legacy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/duffy-ci/duffy/internal/jinja"
)

// A poolMapping is a Mapping that is ready for use.
type poolMapping struct {
	selectors []selector
	pool      *jinja.Template
}

// A selector is what a parameter must be like.
type selector struct {
	param   string
	text    string
	pattern *regexp.Regexp // instead of text, or nil
}

func compilePools(mappings []Mapping) ([]poolMapping, error) {
	var pools []poolMapping
	var errs []error
	for i, m := range mappings {
		index := strconv.Itoa(i)
		pool, err := compileTemplate(m.Pool, "poolmap", index, "pool")
		errs = append(errs, err)
		compiled := poolMapping{pool: pool}
		for _, s := range []selector{{"ver", m.Ver, nil}, {"arch", m.Arch, nil}, {"flavor", m.Flavor, nil}} {
			if s.text == "" {
				continue
			}
			if strings.HasPrefix(s.text, "^") && strings.HasSuffix(s.text, "$") {
				if s.pattern, err = compilePattern(s.text); err != nil {
					errs = append(errs, &ConfigError{[]string{"poolmap", index, s.param}, err})
				}
			}
			compiled.selectors = append(compiled.selectors, s)
		}
		pools = append(pools, compiled)
	}
	return pools, errors.Join(errs...)
}

// compilePattern has all alternatives of a pattern match at the beginning only,
// as Python's re.match does: the anchors may belong to some of them.
func compilePattern(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil {
		return nil, fmt.Errorf("is no regular expression: %w", err)
	}
	return regexp.Compile(`\A(?:` + text + `)`)
}

func (m poolMapping) matches(params map[string]string) bool {
	for _, s := range m.selectors {
		value, there := params[s.param]
		if !there || s.pattern == nil && value != s.text || s.pattern != nil && !s.pattern.MatchString(value) {
			return false
		}
	}
	return true
}

// poolFor returns the pool for a request, or "" if none of the mappings matches.
func (h *handler) poolFor(params map[string]string) (string, error) {
	for _, m := range h.pools {
		if m.matches(params) {
			vars := make(map[string]any, len(params))
			for name, value := range params {
				vars[name] = value
			}
			return m.pool.Render(vars)
		}
	}
	return "", nil
}
