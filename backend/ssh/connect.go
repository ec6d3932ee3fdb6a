package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// A target is where to log in.
type target struct {
	user string
	port int
	addr string // host and port
	host *hostCheck
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
	to := target{user: c.config.User, port: port, addr: net.JoinHostPort(host, strconv.Itoa(port))}
	if user, ok := node.Provision["ssh_user"]; ok && user != nil {
		if to.user, ok = user.(string); !ok || to.user == "" {
			return target{}, fmt.Errorf("ssh_user is %#v, not the name of a user", user)
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

// connect logs in. When the node goes too far, now or later, fail ends the
// connection.
func (c *Contextualizer) connect(ctx context.Context, fail context.CancelCauseFunc, to target) (*gossh.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.ConnectTimeout,
		fmt.Errorf("no answer within %s", c.config.ConnectTimeout))
	defer cancel()

	keys, release, err := c.keys.open(ctx)
	if err != nil {
		return nil, err
	}
	defer release()

	conn, err := c.dial(ctx, "tcp", to.addr)
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	sshConn, channels, requests, err := gossh.NewClientConn(&limitedConn{Conn: conn, fail: fail}, to.addr, &gossh.ClientConfig{
		User: to.user,
		Auth: []gossh.AuthMethod{gossh.PublicKeys(keys...)},
		HostKeyCallback: func(_ string, _ net.Addr, key gossh.PublicKey) error {
			err := to.host.check(key)
			if err != nil {
				fail(err)
			}
			return err
		},
		HostKeyAlgorithms: to.host.algorithms(),
	})
	switch {
	case !stop():
		conn.Close()
		return nil, context.Cause(ctx)
	case err != nil && to.host.seen != nil:
		return nil, fmt.Errorf("none of the keys is accepted (%s): %w", c.keys, err)
	case err != nil:
		return nil, err
	}
	return gossh.NewClient(sshConn, channels, requests), nil
}
