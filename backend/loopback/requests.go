package loopback

import (
	"context"

	"golang.org/x/crypto/ssh"
)

// A session is one channel of a connection and what the client asked for before
// its command began.
type session struct {
	ssh.Channel
	env       []string
	command   string // empty is a shell
	subsystem string
	terminal  *terminal // nil without one
	begun     bool
}

// A terminal is the pseudo terminal that a client wants for its command.
type terminal struct {
	name    string
	resizes chan window // the last size that nobody has seen yet; closed at the end
}

// A window is the size of a terminal, as requests for one and changes of it have it.
type window struct{ Columns, Rows, Width, Height uint32 }

// session answers the requests of a channel until it is closed, and serves the one
// command that they ask for.
func (m *machine) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	s := &session{Channel: channel}
	for req := range requests {
		ok := s.prepare(req)
		_ = req.Reply(ok, nil)
		if ok && isCommand(req.Type) {
			s.begun = true
			go m.serve(ctx, s)
		}
	}
	if s.terminal != nil {
		close(s.terminal.resizes)
	}
}

func isCommand(request string) bool {
	return request == "shell" || request == "exec" || request == "subsystem"
}

// prepare notes what req asks for, and tells whether that can be had. Nothing but
// the size of the terminal can change once the command has begun.
func (s *session) prepare(req *ssh.Request) bool {
	if req.Type == "window-change" {
		return s.resize(req.Payload)
	}
	if s.begun {
		return false
	}
	switch req.Type {
	case "env":
		var env struct{ Name, Value string }
		if ssh.Unmarshal(req.Payload, &env) != nil {
			return false
		}
		s.env = append(s.env, env.Name+"="+env.Value)
		return true
	case "pty-req":
		return s.openTerminal(req.Payload)
	case "shell":
		return true
	case "exec":
		var exec struct{ Command string }
		err := ssh.Unmarshal(req.Payload, &exec)
		s.command = exec.Command
		return err == nil
	case "subsystem":
		var subsystem struct{ Name string }
		err := ssh.Unmarshal(req.Payload, &subsystem)
		s.subsystem = subsystem.Name
		return err == nil && subsystem.Name == "sftp"
	}
	return false
}

func (s *session) openTerminal(payload []byte) bool {
	var pty struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if s.terminal != nil || ssh.Unmarshal(payload, &pty) != nil {
		return false
	}
	s.terminal = &terminal{name: pty.Term, resizes: make(chan window, 1)}
	s.terminal.resizes <- window{pty.Columns, pty.Rows, pty.Width, pty.Height}
	return true
}

// resize leaves the new size to whoever serves the terminal, in place of one that
// has not been seen yet.
func (s *session) resize(payload []byte) bool {
	var size window
	if s.terminal == nil || ssh.Unmarshal(payload, &size) != nil || size.Columns < 1 || size.Rows < 1 {
		return false
	}
	select {
	case <-s.terminal.resizes:
	default:
	}
	s.terminal.resizes <- size
	return true
}
