package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process is a service that is started anew, as systemd would, when it ends by
// itself.
type process struct {
	name string
	args []string
	dir  string // where it runs and its log is
	url  string // of what it serves, if it does

	mu       sync.Mutex
	cmd      *exec.Cmd
	wanted   bool
	ended    chan struct{}
	restarts int
}

const restartPause = time.Second

func (p *process) start(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	require.NoError(t, p.run())
}

func (p *process) run() error {
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "--- started at %s\n", time.Now().Format(time.RFC3339Nano))
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait()
		close(ended)
		time.Sleep(restartPause)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wanted && p.cmd == cmd {
			p.restarts++
			_ = p.run()
		}
	}()
	return nil
}

// end sends a signal that ends the process, and waits until it has.
func (p *process) end(signal syscall.Signal) {
	p.mu.Lock()
	p.wanted = false
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	_ = cmd.Process.Signal(signal)
	<-ended
}

func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(signal)
}

// signalAll sends a signal to the process and all that it has started.
func (p *process) signalAll(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		line, _ := os.ReadFile(stat) // which may be gone
		_, after, _ := strings.Cut(string(line), ") ")
		fields := strings.Fields(after) // state, parent, group, session
		if len(fields) > 3 && fields[3] == strconv.Itoa(p.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			_ = syscall.Kill(pid, signal)
		}
	}
}
