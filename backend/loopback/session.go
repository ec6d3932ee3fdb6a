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

	"github.com/gliderlabs/ssh"
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

// serve runs the command of a session, or a shell if it has none. What it leaves
// behind in its process group is killed; what runs in a group of its own, as the
// background jobs of a terminal do, is not.
func (m *machine) serve(s ssh.Session) {
	m.mu.Lock()
	if m.up.Err() != nil {
		m.mu.Unlock()
		return
	}
	m.sessions.Add(1)
	m.mu.Unlock()
	defer m.sessions.Done()

	ctx, cancel := context.WithCancel(m.up)
	defer cancel()
	context.AfterFunc(s.Context(), cancel)

	cmd := m.command(ctx, s)
	var err error
	if term, ok := s.Context().Value(s).(terminal); ok {
		err = runInTerminal(cmd, s, term)
	} else {
		err = runPiped(cmd, s)
	}
	if cmd.Process != nil {
		_ = kill(cmd)
	}
	if cmd.ProcessState == nil {
		fmt.Fprintln(s.Stderr(), err)
	}
	_ = s.Exit(exitStatus(cmd.ProcessState))
}

func (m *machine) command(ctx context.Context, s ssh.Session) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh")
	switch {
	case s.Subsystem() == "sftp":
		cmd.Args = append(cmd.Args, "-c", sftpServer)
	case s.RawCommand() != "":
		cmd.Args = append(cmd.Args, "-c", s.RawCommand())
	}
	cmd.Dir = m.home
	// Nothing of this process's environment, which may hold its secrets.
	cmd.Env = append(s.Environ(),
		"HOME="+m.home, "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "PATH="+os.Getenv("PATH"),
		fmt.Sprintf("PS1=[root@%s]# ", m.addr.IP))
	cmd.Cancel = func() error { return kill(cmd) }
	cmd.WaitDelay = grace
	return cmd
}

func runPiped(cmd *exec.Cmd, s ssh.Session) error {
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

// A terminal is what a session asked for that is to have one.
type terminal struct {
	name    string
	size    ssh.Window
	resizes <-chan ssh.Window
}

// noteTerminal puts a session's terminal into its connection's context, under
// the session as the key. Once the session runs, to ask it is a data race with
// its window changing.
func noteTerminal(s ssh.Session, _ string) bool {
	if pty, resizes, ok := s.Pty(); ok {
		s.Context().SetValue(s, terminal{pty.Term, pty.Window, resizes})
	}
	return true
}

func runInTerminal(cmd *exec.Cmd, s ssh.Session, term terminal) error {
	master, slave, err := openPTY()
	if err != nil {
		return err
	}
	defer master.Close()
	resizePTY(master, term.size)
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
func exitStatus(state *os.ProcessState) int {
	if state == nil {
		return 255
	}
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
