package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// grace is how long output may follow after a command has ended: something in
// the background may hold on to its pipes.
const grace = time.Second

// sftpServer runs OpenSSH's file server, which scp wants, where systems have it.
const sftpServer = `for dir in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec; do
	[ -x $dir/sftp-server ] && exec $dir/sftp-server
done
echo "this host has no sftp-server" >&2
exit 127`

// serve runs the command of a session, or a shell if it has none, until ctx ends, and
// closes the session. What the command leaves behind in its process group is killed;
// what runs in a group of its own, as the background jobs of a terminal do, is not.
func (m *machine) serve(ctx context.Context, s *session) {
	defer s.Close()
	m.mu.Lock()
	if m.up.Err() != nil {
		m.mu.Unlock()
		return
	}
	m.sessions.Add(1)
	m.mu.Unlock()
	defer m.sessions.Done()

	cmd := m.command(ctx, s)
	var err error
	if s.terminal != nil {
		err = runInTerminal(cmd, s, s.terminal)
	} else {
		err = runPiped(cmd, s)
	}
	if cmd.Process != nil {
		_ = kill(cmd)
	}
	if cmd.ProcessState == nil {
		fmt.Fprintln(s.Stderr(), err)
	}
	status := struct{ Status uint32 }{exitStatus(cmd.ProcessState)}
	_, _ = s.SendRequest("exit-status", false, ssh.Marshal(&status))
}

func (m *machine) command(ctx context.Context, s *session) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh")
	switch {
	case s.subsystem == "sftp":
		cmd.Args = append(cmd.Args, "-c", sftpServer)
	case s.command != "":
		cmd.Args = append(cmd.Args, "-c", s.command)
	}
	cmd.Dir = m.home
	// Nothing of this process's environment, which may hold its secrets.
	cmd.Env = append(s.env,
		"HOME="+m.home, "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "PATH="+os.Getenv("PATH"),
		fmt.Sprintf("PS1=[root@%s]# ", m.addr.IP))
	cmd.Cancel = func() error { return kill(cmd) }
	cmd.WaitDelay = grace
	return cmd
}

func runPiped(cmd *exec.Cmd, s *session) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = s, s.Stderr()
	// Not cmd.Stdin: Wait would wait for the client to close it.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stdin, s)
		stdin.Close()
	}()
	return cmd.Wait()
}

func runInTerminal(cmd *exec.Cmd, s *session, term *terminal) error {
	master, slave, err := openPTY()
	if err != nil {
		return err
	}
	defer master.Close()
	resizePTY(master, <-term.resizes)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(cmd.Env, "TERM="+term.name)
	err = cmd.Start()
	slave.Close()
	if err != nil {
		return err
	}
	go func() {
		for size := range term.resizes {
			resizePTY(master, size)
		}
	}()
	go func() { _, _ = io.Copy(master, s) }()
	shown := make(chan struct{})
	go func() {
		_, _ = io.Copy(s, master)
		close(shown)
	}()
	err = cmd.Wait()
	_ = master.SetReadDeadline(time.Now().Add(grace))
	<-shown
	return err
}

func kill(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// exitStatus returns what a shell would make of state.
func exitStatus(state *os.ProcessState) uint32 {
	if state == nil {
		return 255
	}
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + uint32(status.Signal())
	}
	return uint32(state.ExitCode())
}
