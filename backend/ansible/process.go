package ansible

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a playbook that has to stop may take over it.
const grace = 3 * time.Second

// runGroup runs cmd in a process group of its own. When the context of cmd ends
// the group is told to terminate, and what is left of it after the grace period is
// killed. When Duffy is killed the same happens, and dir is removed. What cmd
// leaves running when it ends by itself is let be.
func runGroup(cmd *exec.Cmd, dir string) error {
	pgid, release, err := newGroup(dir)
	if err != nil {
		return err
	}
	defer release()
	stopped := false
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: pgid}
	cmd.Cancel = func() error {
		stopped = true
		return syscall.Kill(-pgid, syscall.SIGTERM)
	}
	cmd.WaitDelay = grace // what is left running may hold the output open
	err = cmd.Run()
	if stopped {
		release()
		killGroup(pgid)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// newGroup makes a process group whose first member waits until Duffy, which
// holds the other end of its input, is no more. Then it cleans up.
func newGroup(dir string) (pgid int, release func(), err error) {
	guard := exec.Command("/bin/sh", "-c", `trap "" TERM; read _; kill 0; sleep 3; rm -rf "$0"; kill -KILL 0`, dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := guard.StdinPipe(); err != nil {
		return 0, nil, err
	}
	if err := guard.Start(); err != nil {
		return 0, nil, err
	}
	return guard.Process.Pid, func() {
		_ = guard.Process.Kill()
		_ = guard.Wait()
	}, nil
}

// keepTouching touches a file every second, by which a playbook knows that this
// process has not been stopped. The one that it returns ends that.
func keepTouching(file string) (rest func()) {
	tick := time.NewTicker(time.Second)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case now := <-tick.C:
				_ = os.Chtimes(file, now, now) // which fails for a playbook that has no use for it any more
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
	}
}

// killGroup kills what is left of a process group after the grace period.
func killGroup(pgid int) {
	for end := time.Now().Add(grace); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) {
			return
		}
	}
	_ = syscall.Kill(-pgid, syscall.SIGKILL)
}
