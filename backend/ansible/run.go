package ansible

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
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
	aliveFile   = "alive"
	eventsFile  = "events"
	homeDir     = "home"
	tempDir     = "tmp"
	varsFile    = "extravars"
)

// run waits until it may run a playbook, runs it, and returns the nodes of its
// duffy_out.
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
	if err := b.probe(ctx, s.topdir); err != nil {
		return nil, err
	}
	logger := b.logger.With("playbook", p.path, "pool", req.Pool.Name, "nodes", ids(req.Nodes))
	return b.runWith(ctx, logger, s.topdir, vars, p.path)
}

// runWith runs a playbook with a file of variables. args are those for
// ansible-playbook that name the playbook.
func (b *Backend) runWith(ctx context.Context, logger *slog.Logger, topdir string, vars []byte, args ...string) ([]any, error) {
	dir, remove, err := makeRunDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	if err := prepare(dir, vars); err != nil {
		return nil, err
	}
	return b.play(ctx, logger, dir, topdir, args...)
}

// play runs a playbook for which dir is prepared.
func (b *Backend) play(ctx context.Context, logger *slog.Logger, dir, topdir string, args ...string) ([]any, error) {
	playbook := args[len(args)-1]
	stdout, stderr := &lineLogger{logger: logger}, &lineLogger{logger: logger}
	var last tail
	cmd := exec.CommandContext(ctx, b.command, append([]string{"-e", "@" + filepath.Join(dir, varsFile)}, args...)...)
	cmd.Dir = topdir
	cmd.Env = b.environ(dir)
	cmd.Stdout = stdout
	cmd.Stderr = io.MultiWriter(stderr, &last)

	started := time.Now()
	logger.InfoContext(ctx, "playbook started")
	rest := keepTouching(filepath.Join(dir, aliveFile))
	runErr := runGroup(cmd, dir)
	rest()
	stdout.flush()
	stderr.flush()
	logger.InfoContext(ctx, "playbook ended", "took", time.Since(started).Round(time.Millisecond), "status", cmd.ProcessState)

	events, err := readEvents(filepath.Join(dir, eventsFile))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", playbook, err)
	case runErr != nil && ctx.Err() != nil:
		return nil, events.stopped(playbook, ctx.Err())
	case runErr != nil:
		return nil, events.failure(playbook, runErr, last.message())
	default:
		return events.nodes(playbook)
	}
}

// prepare fills the directory of a run.
func prepare(dir string, vars []byte) error {
	for _, name := range []string{callbackDir, homeDir, tempDir} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{
		aliveFile:  nil,
		eventsFile: nil,
		varsFile:   vars,
		filepath.Join(callbackDir, "duffy_events.py"): callback,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
