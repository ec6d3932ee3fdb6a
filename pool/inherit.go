package pool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Raw is a pool as it stands in the configuration, with nothing inherited.
// Settings consist of map[string]any, []any, string, int64, float64, bool and
// nil; they are shared with the Configs made of them and must not change.
type Raw struct {
	Name     string
	Abstract bool
	Settings map[string]any
}

// Origin returns where the setting of a pool that has this path is written, as a
// path below nodepools: in the pool, or in the one it is inherited from. For a
// setting that is missing it is where most of its path is written.
func Origin(raw []Raw, pool string, path ...string) []string {
	pools := ancestry(raw, pool, nil)
	for n := len(path); n >= 0; n-- {
		for _, r := range pools {
			if r.has(path[:n]) {
				return append(r.path(), path...)
			}
		}
	}
	return nil
}

// ancestry appends a pool and those that it extends to known, if they are not
// in it: what is written in a pool hides what is written in those after it.
func ancestry(raw []Raw, pool string, known []*Raw) []*Raw {
	r := find(raw, pool)
	if r == nil || slices.Contains(known, r) {
		return known
	}
	known = append(known, r)
	parents, _ := r.extends()
	for _, parent := range slices.Backward(parents) {
		known = ancestry(raw, parent, known)
	}
	return known
}

func find(raw []Raw, pool string) *Raw {
	i := slices.IndexFunc(raw, func(r Raw) bool { return r.Name == pool })
	if i < 0 {
		return nil
	}
	return &raw[i]
}

// path is where the pool is written, below nodepools.
func (r *Raw) path() []string {
	if r.Abstract {
		return []string{"abstract", r.Name}
	}
	return []string{"concrete", r.Name}
}

func (r *Raw) has(path []string) bool {
	var value any = r.Settings
	for _, key := range path {
		settings, _ := value.(map[string]any)
		var ok bool
		if value, ok = settings[key]; !ok {
			return false
		}
	}
	return true
}

// extends returns the names of the pools that r extends.
func (r *Raw) extends() ([]string, error) {
	extends := r.Settings["extends"]
	switch extends := extends.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{extends}, nil
	case []any:
		names := make([]string, len(extends))
		for i, name := range extends {
			var ok bool
			if names[i], ok = name.(string); !ok {
				return nil, fmt.Errorf("expected names of pools, found %s among them", show(name))
			}
		}
		return names, nil
	default:
		return nil, fmt.Errorf("expected the name of a pool, or a list of them, found %s", show(extends))
	}
}

// inherit returns the settings of r with those that it inherits, or nil if what
// it extends makes no sense. Heirs are the pools for which this is asked: each
// extends the next, and the last extends r.
func (p *parser) inherit(r *Raw, heirs []string) map[string]any {
	if settings, done := p.inherited[r.Name]; done {
		return settings
	}
	settings, ok := p.inheritFrom(r, append(heirs, r.Name))
	settings, conflicts := merge(settings, r.Settings)
	for _, path := range conflicts {
		p.fail(r, errors.New("only null or false can take the place of a mapping, nor can a mapping "+
			"take the place of anything else: one is here, the other in a pool that this one extends"), path...)
	}
	delete(settings, "extends")
	settings["name"] = r.Name
	if !ok || len(conflicts) > 0 {
		settings = nil
	}
	p.inherited[r.Name] = settings
	return settings
}

// inheritFrom merges what r extends. It is the last of heirs.
func (p *parser) inheritFrom(r *Raw, heirs []string) (settings map[string]any, ok bool) {
	parents, err := r.extends()
	if err != nil {
		p.fail(r, err, "extends")
	}
	ok = err == nil
	for _, name := range parents {
		parent := find(p.raw, name)
		if parent == nil {
			p.fail(r, fmt.Errorf("there is no pool %q", name), "extends")
			ok = false
			continue
		}
		if i := slices.Index(heirs, name); i >= 0 {
			circle := strings.Join(append(slices.Clone(heirs[i:]), name), " -> ")
			p.fail(r, fmt.Errorf("no pool can extend itself: %s", circle), "extends")
			ok = false
			continue
		}
		inherited := p.inherit(parent, heirs)
		var conflicts [][]string
		settings, conflicts = merge(settings, inherited)
		for _, path := range conflicts {
			p.fail(r, fmt.Errorf("%s is a mapping in one of these pools but not in another", strings.Join(path, ".")), "extends")
		}
		ok = ok && inherited != nil && len(conflicts) == 0
	}
	return settings, ok
}

// merge returns base with over on top, and the paths where one of them has a
// mapping and the other something that cannot take its place.
func merge(base, over map[string]any) (merged map[string]any, conflicts [][]string) {
	merged = map[string]any{}
	maps.Copy(merged, base)
	for _, key := range slices.Sorted(maps.Keys(over)) {
		below, belowIsMap := merged[key].(map[string]any)
		above, aboveIsMap := over[key].(map[string]any)
		switch {
		case belowIsMap && aboveIsMap:
			both, within := merge(below, above)
			merged[key] = both
			for _, path := range within {
				conflicts = append(conflicts, append([]string{key}, path...))
			}
		case belowIsMap == aboveIsMap, isOff(merged[key]), isOff(over[key]):
			merged[key] = over[key]
		default:
			conflicts = append(conflicts, []string{key})
		}
	}
	return merged, conflicts
}

func isOff(value any) bool { return value == nil || value == false }
