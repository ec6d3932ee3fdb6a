package ssh

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// dialFault returns err, that of a connection that could not be made, as one that matches
// [backend.ErrNotTried] if no other node could be connected to either.
func dialFault(err error) error {
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns) && !dns.IsNotFound:
		return backend.NotTried(err)
	case !errors.As(err, &errno):
	case slices.Contains(exhausted, errno), slices.Contains(unroutable, errno) && !routed():
		return backend.NotTried(err)
	}
	return err
}

// exhausted are errors of a machine that has too little of something.
var exhausted = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN}

// unroutable are errors of an address that this machine cannot send to: the node's
// fault if it could send to others. EHOSTUNREACH is not among them: a router or a
// neighbour says so of a node that is gone.
var unroutable = []syscall.Errno{
	syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EACCES, syscall.EPERM,
}

// routed tells whether this machine has a way to the rest of the world. To connect by
// UDP sends nothing, and these addresses belong to nobody.
func routed() bool {
	for _, addr := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if conn, err := net.Dial("udp", addr); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// passing tells whether err, of a login that did not get as far as its keys, may be over
// in a moment: nobody listens yet, or there are too many connections (MaxStartups).
func passing(err error) bool {
	var refused *gossh.OpenChannelError // by a jump host
	if errors.As(err, &refused) {
		return refused.Reason == gossh.ConnectionFailed
	}
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}
