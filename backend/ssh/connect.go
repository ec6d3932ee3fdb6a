package ssh

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// A target is where to log in.
type target struct {
	user     string
	addr     string // host and port
	hostKeys []gossh.PublicKey
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
	to := target{user: c.config.User, addr: net.JoinHostPort(host, strconv.Itoa(port))}
	if user, ok := node.Provision["ssh_user"]; ok && user != nil {
		if to.user, ok = user.(string); !ok || to.user == "" {
			return target{}, fmt.Errorf("ssh_user is %#v, not the name of a user", user)
		}
	}
	if c.config.PinHostKeys {
		to.hostKeys, err = hostKeysOf(node)
	}
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

func hostKeysOf(node backend.Node) ([]gossh.PublicKey, error) {
	var lines []string
	switch value := node.Provision["ssh_host_key"].(type) {
	case string:
		lines = []string{value}
	case []string:
		lines = value
	case []any:
		for _, line := range value {
			lines = append(lines, fmt.Sprint(line))
		}
	}
	// In known_hosts, names stand where authorized_keys has options.
	var keys []gossh.PublicKey
	for rest := []byte(strings.Join(lines, "\n")); len(rest) > 0; {
		var key gossh.PublicKey
		var err error
		if key, _, _, rest, err = gossh.ParseAuthorizedKey(rest); err != nil {
			break
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("host keys are to be checked, but provisioning told no ssh_host_key that is a public key")
	}
	return keys, nil
}

func (c *Contextualizer) connect(ctx context.Context, to target) (*gossh.Client, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.ConnectTimeout,
		fmt.Errorf("no answer within %s", c.config.ConnectTimeout))
	defer cancel()

	keys, release, err := c.keys.open(ctx)
	if err != nil {
		return nil, err
	}
	defer release()

	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to.addr)
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	host := hostCheck{accept: to.hostKeys}
	sshConn, channels, requests, err := gossh.NewClientConn(conn, to.addr, &gossh.ClientConfig{
		User:              to.user,
		Auth:              []gossh.AuthMethod{gossh.PublicKeys(keys...)},
		HostKeyCallback:   host.check,
		HostKeyAlgorithms: host.algorithms(),
	})
	switch {
	case !stop():
		conn.Close()
		return nil, context.Cause(ctx)
	case err != nil && host.passed:
		return nil, fmt.Errorf("none of the keys is accepted (%s): %w", c.keys, err)
	case err != nil:
		return nil, err
	}
	return gossh.NewClient(sshConn, channels, requests), nil
}

// A hostCheck lets a host pass that has one of the keys in accept, or any host
// if there are none.
type hostCheck struct {
	accept []gossh.PublicKey
	passed bool
}

func (h *hostCheck) check(_ string, _ net.Addr, key gossh.PublicKey) error {
	h.passed = h.accept == nil || slices.ContainsFunc(h.accept, func(k gossh.PublicKey) bool {
		return bytes.Equal(k.Marshal(), key.Marshal())
	})
	if !h.passed {
		return fmt.Errorf("its host key %s is not the ssh_host_key that provisioning told", gossh.FingerprintSHA256(key))
	}
	return nil
}

// algorithms makes the host show the key that is known of it, if it has several.
func (h *hostCheck) algorithms() []string {
	var names []string
	for _, key := range h.accept {
		if key.Type() == gossh.KeyAlgoRSA {
			names = append(names, gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256)
		} else {
			names = append(names, key.Type())
		}
	}
	return names
}
