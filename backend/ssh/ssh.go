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
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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
	//
	// A certificate in a file named like a key, with -cert.pub at its end, is used too,
	// and read each time. ProxyJump names hosts that nodes are reached through, as ssh
	// does after -J: they are logged in to with the same keys.
	KeyFiles  []string
	Agent     string
	ProxyJump string

	// AuthorizedKeys is where sshd of nodes looks for keys, as AuthorizedKeysFile in
	// sshd_config says it: relative to the home directory or absolute, with %h for that
	// directory, %u for the user and %% for a percent sign; default:
	// .ssh/authorized_keys. Outside of home directories its directory has to exist.
	AuthorizedKeys string

	// KexAlgorithms, Ciphers and MACs are what old nodes need, as in ssh_config: with
	// commas in between, in the order of preference, or added to the default ones after
	// a +. Host keys and signatures may be of any kind.
	KexAlgorithms string
	Ciphers       string
	MACs          string

	// HostKeys says which host keys are accepted where [backend.Node] does not;
	// default: backend.FirstHostKey. Nodes that were never inspected may have any.
	HostKeys backend.HostKeys

	// ConnectTimeout is for connecting and logging in; default: 10 s. A node that refuses
	// connections, or breaks them before it lets anybody in, is tried again for as long
	// as the call may take, or this long if its context has no deadline.
	ConnectTimeout time.Duration
	CommandTimeout time.Duration // for what is done once logged in; default: 30 s
}

// A Contextualizer is a [backend.Contextualizer] that logs in to nodes, once for
// each call. It is safe for concurrent use. Its errors name the node and say how
// far it got; they hold what the node had to say but no keys.
type Contextualizer struct {
	config     Config
	algorithms gossh.Config
	jumps      []jump
	keys       keyring
	dial       dialFunc
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// New reads the key files. It fails if one that was given cannot be read or
// needs a passphrase; that there is no key at all is for Ready and the first login to
// tell. What is wrong with another setting is a *[backend.SettingError].
func New(config Config) (*Contextualizer, error) {
	c, err := newContextualizer(config)
	if err != nil {
		return nil, err
	}
	c.keys, err = loadKeyring(c.config)
	return c, err
}

// newContextualizer returns one without keys.
func newContextualizer(config Config) (*Contextualizer, error) {
	config.User = cmp.Or(config.User, "root")
	config.Port = cmp.Or(config.Port, 22)
	config.AuthorizedKeys = cmp.Or(config.AuthorizedKeys, ".ssh/authorized_keys")
	config.HostKeys = cmp.Or(config.HostKeys, backend.FirstHostKey)
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, 10*time.Second)
	config.CommandTimeout = cmp.Or(config.CommandTimeout, 30*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Contextualizer{config: config, dial: new(net.Dialer).DialContext}
	return c, c.readSettings()
}

// Contextualize puts sshKey in the place of all tenants' keys on node. It takes
// the key as it is, several lines and comments included: that a key makes sense
// is checked where tenants get theirs.
func (c *Contextualizer) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	tenant := plainLines(sshKey)
	now, err := c.login(ctx, node, newScript(tenant, false))
	if err != nil || now.ours || tenant == "" {
		return err
	}
	return c.prove(ctx, node, tenant)
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
	now, err := c.login(ctx, node, newScript("", true))
	return now.Inspection, err
}

// Ready implements [backend.Readier]: there have to be a key and a file descriptor.
func (c *Contextualizer) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.ConnectTimeout)
	defer cancel()
	keys, err := c.keys.open(ctx)
	if err != nil {
		return err
	}
	defer keys.release()
	device, err := os.Open(os.DevNull)
	if err != nil {
		return backend.NotTried(err)
	}
	return device.Close()
}

// A visit is what there was to see on a node.
type visit struct {
	backend.Inspection
	ours bool // a key of ours is in authorized_keys
}

// login logs in to node, has it run s and returns what there is.
func (c *Contextualizer) login(ctx context.Context, node backend.Node, s script) (visit, error) {
	start := time.Now()
	to, err := c.target(node)
	if err != nil {
		return visit{}, backend.Untouched(fmt.Errorf("node %d: %w", node.ID, err))
	}
	if s.file, err = shellPath(to.keysFile, to.user); err != nil {
		return visit{}, backend.Untouched(fmt.Errorf("node %d: ssh_authorized_keys: %w", node.ID, err))
	}
	inner, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	conn, err := c.connect(inner, fail, to, c.keys)
	if err != nil {
		return visit{}, backend.Untouched(fmt.Errorf("node %d: cannot log in as %s: %w", node.ID, to, nodeError{err}))
	}
	defer conn.Close()
	others, err := c.run(inner, conn.Client, s)
	if err != nil {
		return visit{}, fmt.Errorf("node %d: cannot %s authorized_keys of %s: %w", node.ID, s.verb(), to, nodeError{err})
	}
	c.config.Logger.DebugContext(ctx, "logged in", "node", node.ID, "login", to.String(),
		"authorized_keys", s.verb(), "tenant", s.tenant != "", "took", time.Since(start))
	return visit{
		Inspection: backend.Inspection{
			User: to.user, Port: to.port, AuthorizedKeysSHA256: others.hash(),
			HostKeys: []string{authorizedKey(conn.hostKey)},
		},
		ours: others.anyOf(conn.keys),
	}, nil
}

// prove sees that node lets in the keys in the file that tenant is in now, by a key that
// is there for a moment. That need not be so where none of Duffy's own keys is in it.
func (c *Contextualizer) prove(ctx context.Context, node backend.Node, tenant string) error {
	to, err := c.target(node)
	if err != nil {
		return err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	key, err := gossh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	if _, err := c.login(ctx, node, newScript(authorizedKey(key.PublicKey())+"\n"+tenant, false)); err != nil {
		return touched{err}
	}
	inner, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	conn, err := c.connect(inner, fail, to, keyring{
		files: []keyFile{{Signer: key}}, sources: []string{"one that is in the file now"},
	})
	if err == nil {
		conn.Close()
		if _, err = c.login(ctx, node, newScript(tenant, false)); err != nil {
			err = touched{err}
		}
		return err
	}
	if errors.As(err, new(refusal)) {
		err = fmt.Errorf("sshd does not let in who is in %s: say in ssh.authorized-keys what its AuthorizedKeysFile is: %w", to.keysFile, err)
	}
	return touched{fmt.Errorf("node %d: %w", node.ID, nodeError{err})}
}

// A touched is the error of a call that did something to a node before. It matches
// neither ErrUntouched nor ErrNotTried, whatever it is made of.
type touched struct{ err error }

func (e touched) Error() string { return e.err.Error() }

func authorizedKey(key gossh.PublicKey) string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
}
