package ansible

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

//go:embed duffy_events.py
var callback []byte

// Names in the directory that a run has for itself.
const (
	callbackDir = "callback"
	eventsFile  = "events"
	homeDir     = "home"
	tempDir     = "tmp"
	varsFile    = "extravars"
)

// run runs a playbook and returns the nodes of its duffy_out.
func (b *Backend) run(ctx context.Context, req backend.Request, s settings, p *playbook, in map[string]any) ([]any, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	vars, err := extraVars(req.Pool, s, p, in)
	if err != nil {
		return nil, err
	}
	unlock, err := b.locks.lock(ctx, ids(req.Nodes))
	if err != nil {
		return nil, &stoppedError{p.path + " did not start, since another playbook was running for the same node", err}
	}
	defer unlock()
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, &stoppedError{p.path + " did not start, since too many other playbooks were running", ctx.Err()}
	}
	if _, err := os.Stat(s.topdir); err != nil {
		return nil, fmt.Errorf("cannot run %s: topdir: %w", p.path, err)
	}
	dir, err := prepare(vars)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	logger := b.logger.With("playbook", p.path, "pool", req.Pool.Name, "nodes", ids(req.Nodes))
	stdout, stderr := &lineLogger{logger: logger}, &lineLogger{logger: logger}
	var last tail
	cmd := exec.CommandContext(ctx, b.command, "-e", "@"+filepath.Join(dir, varsFile), p.path)
	cmd.Dir = s.topdir
	cmd.Env = b.environ(dir)
	cmd.Stdout = stdout
	cmd.Stderr = io.MultiWriter(stderr, &last)

	started := time.Now()
	logger.InfoContext(ctx, "playbook started")
	runErr := runGroup(cmd, dir)
	stdout.flush()
	stderr.flush()
	logger.InfoContext(ctx, "playbook ended", "took", time.Since(started).Round(time.Millisecond), "status", cmd.ProcessState)

	events, err := readEvents(filepath.Join(dir, eventsFile))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.path, err)
	case runErr != nil && ctx.Err() != nil:
		return nil, events.stopped(p.path, ctx.Err())
	case runErr != nil:
		return nil, events.failure(p.path, runErr, last.message())
	default:
		return events.nodes(p.path)
	}
}

// prepare makes the directory of a run, which only Duffy's user can read.
func prepare(vars []byte) (dir string, err error) {
	dir, err = os.MkdirTemp("", "duffy-ansible-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	for _, sub := range []string{callbackDir, homeDir, tempDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return "", err
		}
	}
	files := map[string][]byte{varsFile: vars, eventsFile: nil, filepath.Join(callbackDir, "duffy_events.py"): callback}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}
