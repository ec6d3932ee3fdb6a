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
// shell of the user is.
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
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
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

	// PinHostKeys refuses nodes whose host key is not the one that provisioning
	// told. By default, as in Duffy 3, host keys are not checked: nodes are
	// reinstalled all the time.
	PinHostKeys bool

	ConnectTimeout time.Duration // for connecting and logging in; default: 10 s
	CommandTimeout time.Duration // for what is done once logged in; default: 30 s
}

// A Contextualizer is a [backend.Contextualizer] that logs in to nodes, once for
// each call. It is safe for concurrent use. Its errors name the node and say how
// far it got; they hold what the node had to say but no keys.
type Contextualizer struct {
	config Config
	keys   keyring
}

// New reads the key files. It fails if one that was given cannot be read or
// needs a passphrase; that there is no key at all is for the first login to tell.
func New(config Config) (*Contextualizer, error) {
	config.User = cmp.Or(config.User, "root")
	config.Port = cmp.Or(config.Port, 22)
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, 10*time.Second)
	config.CommandTimeout = cmp.Or(config.CommandTimeout, 30*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	keys, err := loadKeyring(config)
	if err != nil {
		return nil, err
	}
	return &Contextualizer{config, keys}, nil
}

// Contextualize puts sshKey in the place of all tenants' keys on node. It takes
// the key as it is, several lines and comments included: that a key makes sense
// is checked where tenants get theirs.
func (c *Contextualizer) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	return c.setTenant(ctx, node, plainLines(sshKey))
}

// Decontextualize removes all tenants' keys from node.
func (c *Contextualizer) Decontextualize(ctx context.Context, node backend.Node) error {
	return c.setTenant(ctx, node, "")
}

func (c *Contextualizer) setTenant(ctx context.Context, node backend.Node, keys string) error {
	start := time.Now()
	to, err := c.target(node)
	if err != nil {
		return fmt.Errorf("node %d: %w", node.ID, err)
	}
	client, err := c.connect(ctx, to)
	if err != nil {
		return fmt.Errorf("node %d: cannot log in as %s: %w", node.ID, to, err)
	}
	defer client.Close()
	if err := c.run(ctx, client, "tenant="+shellescape.Quote(keys)+"\n"+authorizedKeysScript); err != nil {
		return fmt.Errorf("node %d: cannot change authorized_keys of %s: %w", node.ID, to, err)
	}
	c.config.Logger.DebugContext(ctx, "changed authorized_keys", "node", node.ID, "login", to.String(),
		"tenant", keys != "", "took", time.Since(start))
	return nil
}

//go:embed authorized_keys.sh
var authorizedKeysScript string

// run lets the node run script. The script goes to the standard input of a shell,
// since command lines are there for everybody to see and mean different things
// to different login shells.
func (c *Contextualizer) run(ctx context.Context, client *gossh.Client, script string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.CommandTimeout,
		fmt.Errorf("it takes longer than %s", c.config.CommandTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()

	session, err := client.NewSession()
	var said output
	if err == nil {
		session.Stdin, session.Stdout, session.Stderr = inTime(ctx, strings.NewReader(script)), &said, &said
		err = session.Run("exec sh")
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if text := said.String(); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// inTime returns r for as long as ctx lasts by the clock, whether anybody has
// noticed that it is over or not: a process that was stopped, and goes on when
// others have taken over the node, must not do anything to it.
func inTime(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if end, ok := ctx.Deadline(); ok && time.Now().After(end) {
			return 0, context.DeadlineExceeded
		}
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// plainLines returns keys with the line ends of Unix and without control
// characters, which no authorized_keys file has a use for.
func plainLines(keys string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, keys))
}
