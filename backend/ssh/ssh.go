// Package ssh gives tenants access to nodes by way of SSH: it is Duffy's default
// [backend.Contextualizer].
//
// A tenant's key goes to the end of ~/.ssh/authorized_keys of the user that Duffy
// logs in as, root unless told otherwise, under the line
//
//	### DUFFY tenant credentials
//
// and everything from that line on is removed when the node is taken back or
// handed out again, as Duffy 3 did it. Duffy's own key must be above that line,
// or be let in by other means. The node needs a POSIX shell, whatever the login
// shell of the user is, and proves that the file is as it should be by what it
// prints, not by an exit status. Of symbolic links those are followed that lead to
// a file of the user's within its home directory. A file of more than 1 MiB is left
// alone.
//
// Nodes are in other people's hands: what one sends is limited to 128 KiB and what it
// prints to half of that, and the time of a call by [Config].
//
// What provisioning told about a node (see [backend.Node]) decides how it is
// reached: "ssh_user" and "ssh_port", a number or a string of digits, override
// the configuration for this node; "ssh_host_key" holds its public host keys, in
// one string or a list, each line as in authorized_keys, known_hosts or the
// output of ssh-keyscan.
package ssh

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend"
)

// Config says how to log in to nodes. The zero value does it as ssh(1) does.
type Config struct {
	Logger *slog.Logger // default: none

	User string // default: root
	Port int    // default: 22

	// KeyFiles are files of private keys, without a passphrase, and Agent is the
	// socket of an ssh-agent. If neither is given, the agent at $SSH_AUTH_SOCK is
	// asked, if any, and those of ~/.ssh/id_ed25519, id_ecdsa and id_rsa are taken
	// that exist and have no passphrase. Files are read once, by [New]; an agent
	// is asked each time, and its keys are tried first.
	KeyFiles []string
	Agent    string

	// HostKeys says which host keys are accepted where [backend.Node] does not;
	// default: backend.FirstHostKey. Nodes that were never inspected may have any.
	HostKeys backend.HostKeys

	ConnectTimeout time.Duration // for connecting and logging in; default: 10 s
	CommandTimeout time.Duration // for what is done once logged in; default: 30 s
}

// A Contextualizer is a [backend.Contextualizer] that logs in to nodes, once for
// each call. It is safe for concurrent use. Its errors name the node and say how
// far it got; they hold what the node had to say but no keys.
type Contextualizer struct {
	config Config
	keys   keyring
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New reads the key files. It fails if one that was given cannot be read or
// needs a passphrase; that there is no key at all is for the first login to tell.
func New(config Config) (*Contextualizer, error) {
	config.User = cmp.Or(config.User, "root")
	config.Port = cmp.Or(config.Port, 22)
	config.HostKeys = cmp.Or(config.HostKeys, backend.FirstHostKey)
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, 10*time.Second)
	config.CommandTimeout = cmp.Or(config.CommandTimeout, 30*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	keys, err := loadKeyring(config)
	if err != nil {
		return nil, err
	}
	return &Contextualizer{config, keys, new(net.Dialer).DialContext}, nil
}

// Contextualize puts sshKey in the place of all tenants' keys on node. It takes
// the key as it is, several lines and comments included: that a key makes sense
// is checked where tenants get theirs.
func (c *Contextualizer) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	_, err := c.login(ctx, node, newScript(plainLines(sshKey), false))
	return err
}

// Decontextualize removes all tenants' keys from node. It fails if other keys were
// added or removed since node.Inspection, unless Duffy logged in as another user
// then.
func (c *Contextualizer) Decontextualize(ctx context.Context, node backend.Node) error {
	now, err := c.login(ctx, node, newScript("", false))
	if err != nil {
		return err
	}
	then := node.Inspection
	if then == nil || then.User != now.User || then.AuthorizedKeysSHA256 == "" || then.AuthorizedKeysSHA256 == now.AuthorizedKeysSHA256 {
		return nil
	}
	return fmt.Errorf("node %d: authorized_keys of %s has other keys above those of tenants than before a tenant had access", node.ID, now.User)
}

// Inspect returns the host key of node and a hash of the keys that are not tenants'.
// It implements [backend.Inspector].
func (c *Contextualizer) Inspect(ctx context.Context, node backend.Node) (backend.Inspection, error) {
	return c.login(ctx, node, newScript("", true))
}

// login logs in to node, has it run s and returns what there is.
func (c *Contextualizer) login(ctx context.Context, node backend.Node, s script) (backend.Inspection, error) {
	start := time.Now()
	to, err := c.target(node)
	if err != nil {
		return backend.Inspection{}, fmt.Errorf("node %d: %w", node.ID, err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	client, err := c.connect(ctx, fail, to)
	if err != nil {
		return backend.Inspection{}, fmt.Errorf("node %d: cannot log in as %s: %w", node.ID, to, nodeError{err})
	}
	defer client.Close()
	others, err := c.run(ctx, client, s)
	if err != nil {
		return backend.Inspection{}, fmt.Errorf("node %d: cannot %s authorized_keys of %s: %w", node.ID, s.verb(), to, nodeError{err})
	}
	c.config.Logger.DebugContext(ctx, "logged in", "node", node.ID, "login", to.String(),
		"authorized_keys", s.verb(), "tenant", s.tenant != "", "took", time.Since(start))
	return backend.Inspection{
		User: to.user, Port: to.port, AuthorizedKeysSHA256: others,
		HostKeys: []string{strings.TrimSpace(string(gossh.MarshalAuthorizedKey(to.host.seen)))},
	}, nil
}
