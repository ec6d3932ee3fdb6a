package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// A jump is a host that nodes are reached through.
type jump struct{ user, addr string }

func (j jump) String() string { return j.user + "@" + j.addr }

// parseJumps reads hosts as ssh does after -J, the one that is connected to first
// standing first: [user@]host[:port], with commas between them.
func parseJumps(text, user string) (jumps []jump, err error) {
	if text == "" {
		return nil, nil
	}
	for host := range strings.SplitSeq(text, ",") {
		j := jump{user: user}
		host = strings.TrimPrefix(strings.TrimSpace(host), "ssh://")
		if i := strings.LastIndex(host, "@"); i >= 0 {
			j.user, host = host[:i], host[i+1:]
		}
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), "22"
		}
		if _, err := net.LookupPort("tcp", port); err != nil || name == "" || j.user == "" || strings.ContainsAny(name, " /") {
			return nil, fmt.Errorf("expected [user@]host[:port], with commas between several, found %q", text)
		}
		j.addr = net.JoinHostPort(name, port)
		jumps = append(jumps, j)
	}
	return jumps, nil
}

// dialThrough connects to addr, by way of the jump hosts if there are any. That these
// cannot be got through is no fault of who is at addr. Their host keys do not matter:
// what they pass on is sealed for the node, whose host key does.
func (c *Contextualizer) dialThrough(ctx context.Context, addr string, keys []gossh.Signer) (net.Conn, error) {
	dial := c.dial
	for _, j := range c.jumps {
		conn, err := dial(ctx, "tcp", j.addr)
		var client *gossh.Client
		if err == nil {
			client, err = c.handshake(ctx, conn, j.addr, &gossh.ClientConfig{
				User: j.user, Auth: []gossh.AuthMethod{gossh.PublicKeys(keys...)}, HostKeyCallback: gossh.InsecureIgnoreHostKey(),
			})
		}
		if err != nil {
			return nil, backend.NotTried(fmt.Errorf("cannot log in to jump host %s: %w", j, cmp.Or(context.Cause(ctx), err)))
		}
		dial = through(client)
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, dialFault(cmp.Or(context.Cause(ctx), err))
	}
	return conn, nil
}

// through returns how to dial from the other end of client, which is closed with the
// connection that this makes, or if it makes none.
func through(client *gossh.Client) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := client.DialContext(ctx, network, addr)
		var answer *gossh.OpenChannelError
		switch {
		case err == nil:
			return passedConn{conn, client}, nil
		case ctx.Err() == nil && (!errors.As(err, &answer) || answer.Reason != gossh.ConnectionFailed):
			err = backend.NotTried(fmt.Errorf("the jump host does not connect to it: %w", err))
		}
		client.Close()
		return nil, err
	}
}

// A passedConn is a connection that a jump host passes on.
type passedConn struct {
	net.Conn
	by *gossh.Client
}

func (c passedConn) Close() error { return errors.Join(c.Conn.Close(), c.by.Close()) }
