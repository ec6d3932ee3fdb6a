package ssh

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// What a node may send us, all in all and as output of the script, in bytes. An
// honest one sends less than a tenth of the former, and of the latter as much as
// there is in authorized_keys beside tenants' keys, or less if that is large.
const (
	readLimit   = 128 << 10
	outputLimit = 64 << 10
)

// A limitedConn is a connection that calls fail when more than readLimit bytes
// came in, and brings no more.
type limitedConn struct {
	net.Conn
	fail     context.CancelCauseFunc
	received *atomic.Int64 // also by earlier attempts to log in
}

func (c *limitedConn) Read(p []byte) (int, error) {
	left := readLimit - int(c.received.Load())
	if left <= 0 {
		err := fmt.Errorf("it sends more than %d KiB", readLimit>>10)
		c.fail(err)
		return 0, err
	}
	n, err := c.Conn.Read(p[:min(len(p), left)])
	c.received.Add(int64(n))
	return n, err
}

// output keeps what a command prints to standard output, and the beginning of what
// it prints to either of its streams: login shells and forced commands complain on
// standard output.
type output struct {
	fail context.CancelCauseFunc // called when there is more than outputLimit

	mu     sync.Mutex
	size   int // of both streams
	stdout strings.Builder
	begin  []byte
}

const beginLimit = 1000

// stream returns one of the streams, the one that is kept or the other one.
func (o *output) stream(keep bool) writerFunc {
	return func(p []byte) (int, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.begin = append(o.begin, p[:min(len(p), beginLimit-len(o.begin))]...)
		if o.size += len(p); o.size > outputLimit {
			err := fmt.Errorf("it prints more than %d KiB", outputLimit>>10)
			o.fail(err)
			return 0, err
		}
		if keep {
			o.stdout.Write(p)
		}
		return len(p), nil
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// said returns the beginning of what was printed, in one line.
func (o *output) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.FieldsFunc(strings.ToValidUTF8(string(o.begin), "?"), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.TrimSpace(strings.Join(lines, "; "))
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stdout.String()
}

// A nodeError is an error that may quote a node. It says no more than errorLimit
// bytes of it.
type nodeError struct{ error }

const errorLimit = 2000

func (e nodeError) Error() string {
	text := e.error.Error()
	if len(text) > errorLimit {
		text = strings.ToValidUTF8(text[:errorLimit], "") + "..."
	}
	return text
}

func (e nodeError) Unwrap() error { return e.error }
