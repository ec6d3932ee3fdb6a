package ansible

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

//go:embed probe.yml
var probePlaybook []byte

const (
	probeName    = "duffy-probe.yml"
	probeTimeout = time.Minute

	// probeText is a template that must stay as it is, in all uses of the playbook,
	// and probeAnswer is in what it would be rendered to.
	probeText   = "said {{ 1234 * 5678 }}"
	probeAnswer = "7006652"
	probeUses   = 9
)

// A program is ansible-playbook as it is installed, with the configuration in a
// directory. Another version of it is another program.
type program struct {
	topdir, path string
	size         int64
	changed      time.Time
}

// Probe runs a small playbook in the pool's topdir. It returns an error if there is
// no ansible-playbook that works, or if it renders text of nodes as templates, by
// which a node could run commands here: Duffy runs no playbooks with it then.
func (b *Backend) Probe(ctx context.Context, pool backend.Pool) error {
	s, err := parse(pool.Settings)
	if err != nil {
		return err
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := b.probe(ctx, s.topdir); err != nil {
		return &backend.SettingError{Path: []string{"mechanism", "ansible", "topdir"}, Err: err}
	}
	return nil
}

// probe does what Probe says unless the same program has passed already. Its caller
// holds a slot.
func (b *Backend) probe(ctx context.Context, topdir string) error {
	p, err := b.program(topdir)
	if err != nil {
		return fmt.Errorf("cannot run playbooks: %w", err)
	}
	if _, passed := b.probed.Load(p); passed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := b.tryProgram(ctx, topdir); err != nil {
		return fmt.Errorf("cannot run playbooks with %s: %w", p.path, err)
	}
	b.probed.Store(p, struct{}{})
	return nil
}

func (b *Backend) program(topdir string) (program, error) {
	path, err := exec.LookPath(b.command)
	if err != nil {
		return program{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return program{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return program{}, err
	}
	return program{topdir: topdir, path: path, size: info.Size(), changed: info.ModTime()}, nil
}

// tryProgram has ansible-playbook use untrusted text, and sees that it is still
// there. The inventory of topdir is left out, since it may be of a whole cloud.
func (b *Backend) tryProgram(ctx context.Context, topdir string) error {
	vars, err := encodeVars(map[string]any{
		duffyInName: untrusted{map[string]any{"nodes": []any{map[string]any{"text": probeText, probeText: probeText}}}},
		"extra":     untrusted{probeText},
		"product":   untrusted{"1234 * 5678"},
		// Text that is true, or false, to whatever evaluates it as a condition.
		"yes_word": untrusted{"1 == 1"},
		"no_word":  untrusted{"1 == 2"},
		"yes_part": untrusted{"x' == 'x' or 'x"},
		"no_part":  untrusted{"x' == 'y' or 'x"},
	})
	if err != nil {
		return err
	}
	dir, remove, err := makeRunDir()
	if err != nil {
		return err
	}
	defer remove()
	playbook := filepath.Join(dir, probeName)
	if err := os.WriteFile(playbook, probePlaybook, 0o600); err != nil {
		return err
	}
	out, err := b.runWith(ctx, b.logger.With("playbook", probeName), topdir, vars, "-i", "localhost,", playbook)
	if err != nil {
		return err
	}
	return unrendered(out)
}

var errRenders = errors.New("this version of Ansible renders text that is marked as unsafe (CVE-2024-11079, CVE-2023-5764): " +
	"nodes could run commands here. Install a version with these mended, such as ansible-core 2.16.14, 2.17.7, 2.18.1 or newer, " +
	"or that of a distribution that is still supported")

// unrendered returns an error if a text of the probe is not as it was, or was evaluated
// as a condition.
func unrendered(out []any) error {
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if strings.Contains(string(text), probeAnswer) || strings.Count(string(text), probeText) < probeUses {
		return errRenders
	}
	evaluated, _ := out[len(out)-1].(map[string]any)
	for _, use := range []string{"word", "within", "assert"} {
		if evaluated[use] != false {
			return errRenders
		}
	}
	return nil
}
