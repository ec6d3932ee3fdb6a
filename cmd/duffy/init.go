package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// firstProcess is the process that adopts those whose parents have ended, unless it is
// itself the child of one that does.
const firstProcess = 1

// notForwarded are signals that are about this process alone.
var notForwarded = []os.Signal{syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG}

// asInit runs the program with args as a child, forwards signals to it and returns its
// exit code, as a shell tells it. Meanwhile it reaps all processes that it is left by
// others, as playbooks leave some. It is for the first process of a container: the
// child can wait for its own processes then, and nobody takes their status away.
func asInit(args []string) (code int, err error) {
	file, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("start as a child of the first process: %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	child, err := os.StartProcess(file, append([]string{os.Args[0]}, args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A terminal signals this process alone, so that the child is told once.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start as a child of the first process: %w", err)
	}
	go func() {
		for s := range signals {
			if !slices.Contains(notForwarded, s) {
				_ = child.Signal(s)
			}
		}
	}()
	return reap(child.Pid)
}

// reap waits for all children until one of them ends, and returns its exit code.
func reap(child int) (code int, err error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for processes: %w", err)
		case pid == child && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child:
			return status.ExitStatus(), nil
		}
	}
}
