package ansible

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// grace is how long a playbook that has to stop may take over it.
const grace = 3 * time.Second

// runGroup runs cmd as the leader of a process group. When the context of cmd
// ends the whole group does: told to terminate, and killed after the grace period.
// After an ordinary end it leaves alone what the command left running.
func runGroup(cmd *exec.Cmd) error {
	// On Linux the command is killed when the thread ends that started it, which
	// is not to happen before Duffy ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd.SysProcAttr = groupLeader()
	stopped := false
	cmd.Cancel = func() error {
		stopped = true
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	}
	// A command that something left running may hold the output open.
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	if stopped {
		killGroup(cmd.Process.Pid)
	}
	if errors.Is(err, exec.ErrWaitDelay) && !stopped {
		return nil
	}
	return err
}

// killGroup kills those processes of a group that are still there after the grace
// period.
func killGroup(pgid int) {
	for end := time.Now().Add(grace); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) {
			return
		}
	}
	_ = syscall.Kill(-pgid, syscall.SIGKILL)
}
