package ansible

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/jinja"
)

// settings are what a pool's section says.
type settings struct {
	topdir      string
	extraVars   map[string]any
	provision   *playbook
	deprovision *playbook // nil if there is nothing to do
}

// A playbook is one that the settings name.
type playbook struct {
	path      string // below topdir, unless it is absolute
	extraVars map[string]any
}

// parse returns what values say, or an error for everything that is wrong with
// their form.
func parse(values map[string]any) (settings, error) {
	root := rootSection(values)
	root.only("topdir", "extra-vars", "provision", "deprovision")
	s := settings{
		topdir:    root.text("topdir"),
		extraVars: root.section("extra-vars").values,
		provision: root.section("provision").playbook(),
	}
	if below := root.section("deprovision"); below.values["playbook"] != nil {
		s.deprovision = below.playbook()
	}
	return s, errors.Join(*root.errs...)
}

func (s section) playbook() *playbook {
	s.only("playbook", "extra-vars")
	return &playbook{path: s.text("playbook"), extraVars: s.section("extra-vars").values}
}

// Check reports settings that are missing, unknown or of a wrong type, playbooks
// that cannot be read, and extra-vars that no playbook can be given.
func (b *Backend) Check(pool backend.Pool) error {
	s, err := parse(pool.Settings)
	if err != nil {
		return err
	}
	root := rootSection(pool.Settings)
	for _, vars := range []section{root, root.section("provision"), root.section("deprovision")} {
		vars.section("extra-vars").checkVars()
	}
	if info, err := os.Stat(s.topdir); err != nil {
		root.wrong("topdir", "%w", err)
	} else if !info.IsDir() {
		root.wrong("topdir", "%s is not a directory", s.topdir)
	} else {
		root.section("provision").checkPlaybook(s.topdir, s.provision)
		root.section("deprovision").checkPlaybook(s.topdir, s.deprovision)
	}
	return errors.Join(*root.errs...)
}

func (s section) checkPlaybook(topdir string, p *playbook) {
	if p == nil {
		return
	}
	path := p.path
	if !filepath.IsAbs(path) {
		path = filepath.Join(topdir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		s.wrong("playbook", "%w", err)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		s.wrong("playbook", "%s is not a file", path)
	}
}

// checkVars compiles the templates that jinja.RenderAll would find, and sees that
// the rest can be handed to a playbook.
func (s section) checkVars() {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		switch value := s.values[key].(type) {
		case string:
			if _, err := jinja.Compile(value); err != nil {
				s.wrong(key, "template: %w", err)
			}
		case map[string]any:
			s.section(key).checkVars()
		default:
			if _, err := json.Marshal(value); err != nil {
				s.wrong(key, "%w", err)
			}
		}
	}
}
