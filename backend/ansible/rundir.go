package ansible

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	runDirPrefix = "duffy-ansible-"
	lockFile     = "lock" // in the directory of a run, locked for as long as the run lasts
)

// makeRunDir makes the directory of a run, into which only Duffy's user can look.
// Whoever called it calls remove in the end.
func makeRunDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", runDirPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := makeLock(dir)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), os.RemoveAll(dir))
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		_ = lock.Close() // which unlocks it, as the end of this process does
	}, nil
}

// makeLock makes a lock file that is locked before it has its name, and so never
// seems to be abandoned.
func makeLock(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	lock, err := os.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		err = os.Rename(lock.Name(), name)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// CleanUp implements [backend.Cleaner]: it removes the directories of runs whose
// process was killed together with all that watched over it, as when the machine
// goes down. They have secrets in them. Those of living processes stay, and so does
// what other users have put beside them under such names.
func (b *Backend) CleanUp(ctx context.Context) {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		b.logger.WarnContext(ctx, "cannot look for directories of playbooks whose process was killed", "error", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), runDirPrefix) {
			continue
		}
		dir := filepath.Join(os.TempDir(), entry.Name())
		removed, err := removeAbandoned(dir)
		switch {
		case err != nil:
			b.logger.WarnContext(ctx, "cannot remove the directory of a playbook whose process was killed", "dir", dir, "error", err)
		case removed:
			b.logger.InfoContext(ctx, "removed the directory of a playbook whose process was killed", "dir", dir)
		}
	}
}

// removeAbandoned removes a directory that makeRunDir has made for a process that is
// no more, and tells whether it is one.
func removeAbandoned(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return false, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, nil
	}
	defer root.Close()
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) {
		return false, nil
	}
	lock, err := root.OpenFile(lockFile, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, nil
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false, nil
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	errs := []error{err}
	for _, entry := range entries {
		if entry.Name() != lockFile {
			errs = append(errs, root.RemoveAll(entry.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return false, err // with the lock left there, for the next try
	}
	return true, errors.Join(root.Remove(lockFile), os.Remove(dir))
}
