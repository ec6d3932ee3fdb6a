package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// A target is where to log in.
type target struct {
	user string
	port int
	addr string // host and port
	host hostCheck

	keysFile string // authorized_keys, as sshd_config names it
}

func (t target) String() string { return t.user + "@" + t.addr }

func (c *Contextualizer) target(node backend.Node) (target, error) {
	host := cmp.Or(node.IPAddr, node.Hostname)
	if host == "" {
		return target{}, errors.New("it has neither an address nor a name to log in to")
	}
	port, err := portOf(node, c.config.Port)
	if err != nil {
		return target{}, err
	}
	to := target{
		user: c.config.User, port: port, addr: net.JoinHostPort(host, strconv.Itoa(port)), keysFile: c.config.AuthorizedKeys,
	}
	if user, ok := node.Provision["ssh_user"]; ok && user != nil {
		if to.user, ok = user.(string); !ok || to.user == "" {
			return target{}, fmt.Errorf("ssh_user is %#v, not the name of a user", user)
		}
	}
	if file, ok := node.Provision["ssh_authorized_keys"]; ok && file != nil {
		if to.keysFile, ok = file.(string); !ok {
			return target{}, fmt.Errorf("ssh_authorized_keys is %#v, not the name of a file", file)
		}
	}
	to.host, err = hostCheckOf(node, cmp.Or(node.HostKeys, c.config.HostKeys))
	return to, err
}

// portOf reads ssh_port as it comes out of JSON, a playbook or a Go program.
func portOf(node backend.Node, fallback int) (int, error) {
	value, ok := node.Provision["ssh_port"]
	if !ok || value == nil {
		return fallback, nil
	}
	port, err := strconv.ParseUint(strings.TrimSpace(fmt.Sprint(value)), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("ssh_port is %#v, not a port", value)
	}
	return int(port), nil
}

// A connection is one that Duffy is logged in by.
type connection struct {
	*gossh.Client
	hostKey gossh.PublicKey
	keys    []gossh.Signer // of which one was let in
}

// connect logs in with one of keys. A node that has no time for us is tried again, after
// pauses that grow, until ctx ends, or for ConnectTimeout if it does not. When the node
// goes too far, now or later, fail ends the connection.
func (c *Contextualizer) connect(ctx context.Context, fail context.CancelCauseFunc, to target, keys keyring) (connection, error) {
	if _, ends := ctx.Deadline(); !ends {
		limited, cancel := c.limit(ctx)
		defer cancel()
		ctx = limited
	}
	var received atomic.Int64
	var before error
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		conn, err := c.logIn(ctx, fail, to, keys, &received)
		if err != nil && before != nil && ctx.Err() != nil {
			err = before // the last attempt was cut short, which says nothing
		}
		if err == nil || !passing(err) || !rest(ctx, pause) {
			return conn, err
		}
		before = err
	}
}

func (c *Contextualizer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.config.ConnectTimeout, fmt.Errorf("no answer within %s", c.config.ConnectTimeout))
}

const (
	shortestPause = 100 * time.Millisecond
	longestPause  = 2 * time.Second
)

// rest waits, and returns false if ctx ends meanwhile.
func rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

func (c *Contextualizer) logIn(ctx context.Context, fail context.CancelCauseFunc, to target, ring keyring, received *atomic.Int64) (connection, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	got, err := ring.open(ctx)
	if err != nil {
		return connection{}, err
	}
	defer got.release()
	if got.missing != nil {
		c.config.Logger.WarnContext(ctx, "not all SSH keys can be used", "err", got.missing)
	}
	if ctx.Err() != nil { // an agent took all the time
		return connection{}, backend.NotTried(cmp.Or(got.missing, context.Cause(ctx)))
	}
	conn, err := c.dialThrough(ctx, to.addr, got.keys)
	if err != nil {
		return connection{}, err
	}
	host := to.host // of this connection
	client, err := c.handshake(ctx, &limitedConn{conn, fail, received}, to.addr, &gossh.ClientConfig{
		User: to.user,
		Auth: []gossh.AuthMethod{gossh.PublicKeys(got.keys...)},
		HostKeyCallback: func(_ string, _ net.Addr, key gossh.PublicKey) error {
			err := host.check(key)
			if err != nil {
				fail(err)
			}
			return err
		},
		HostKeyAlgorithms: host.algorithms(),
	})
	switch {
	case err == nil:
		return connection{client, host.seen, got.keys}, nil
	case ctx.Err() != nil || passing(err) || host.seen == nil:
		return connection{}, err
	}
	err = refusal{fmt.Errorf("none of the keys is accepted (%s): %w", ring, err)}
	if got.missing != nil {
		err = backend.NotTried(fmt.Errorf("%w; %w", err, got.missing))
	}
	return connection{}, err
}

// A refusal is the error that a node lets in none of the keys.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// handshake makes conn an SSH connection, or closes it.
func (c *Contextualizer) handshake(ctx context.Context, conn net.Conn, addr string, config *gossh.ClientConfig) (*gossh.Client, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	config.Config = c.algorithms
	sshConn, channels, requests, err := gossh.NewClientConn(conn, addr, config)
	switch {
	case !stop():
		conn.Close()
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	return gossh.NewClient(sshConn, channels, requests), nil
}
