package ansible

import "syscall"

// groupLeader has a playbook end when Duffy is killed: nobody would look at its
// result, and the same nodes may soon be worked on by another one.
func groupLeader() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
