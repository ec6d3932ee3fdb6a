// Package testserver starts servers for tests that end with the test binary,
// however that ends.
package testserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Server is a server in a directory of its own.
type Server struct {
	Dir string // where it works, and its output is in the file log

	// Script is run by /bin/sh with Dir as $0 and Args from $1 on. It starts the
	// server, reads standard input until that ends, ends the server, and removes Dir.
	Script string
	Args   []string

	Account *syscall.Credential // to run as, nil for the own one

	// Ready returns nil once the server answers. It is asked time and again.
	Ready func(context.Context) error
}

// Start returns when the server is ready, or an error with its output if it is
// not within a minute. It ends with the test binary, or with stop, which returns
// when the script has ended.
func (s Server) Start() (stop func(), err error) {
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", s.Script, s.Dir}, s.Args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	// In a session of its own the shell outlives an interrupt from the terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.Account}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }() // which also keeps the pipe open
	stop = func() {
		_ = stdin.Close()
		<-ended
	}
	if err := s.await(ended); err != nil {
		out, _ := io.ReadAll(io.NewSectionReader(log, 0, 1<<20))
		stop()
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return stop, nil
}

// await waits until the server answers.
func (s Server) await(ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := s.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it has ended: %w", err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
