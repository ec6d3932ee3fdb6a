// Package loopback is a backend whose nodes are SSH servers in this process, for
// trying Duffy out and for tests of programs that embed it. They behave like
// machines: each has an address of its own in 127.0.0.0/8, a host key, and a home
// directory for root with an authorized_keys file that says who may log in.
//
// They are no machines, though: commands run on this host as the user that this
// process runs as, so only those should get access who may do that. And nodes
// end with the process: what its database calls a ready node does not answer
// after a restart. To provision it again brings it back, as a fresh machine.
//
// It needs Linux, where all of 127.0.0.0/8 answers without any set-up, and
// /bin/sh; for scp and sftp, OpenSSH's sftp-server.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/backend"
)

// Config says what nodes are like. Dir is required.
type Config struct {
	// Dir is where nodes have their home directories, named node-ID. It is an
	// absolute path, made if need be, and of this process alone.
	Dir string

	// AuthorizedKey, one or several lines of an authorized_keys file, is who may
	// log in to a node from the beginning: Duffy itself.
	AuthorizedKey string

	// Port is where all nodes listen. By default each gets a free port.
	Port int

	// ProvisionDelay is how long Provision takes.
	ProvisionDelay time.Duration

	// Reachable tells whether a node answers; nil is always. One that does not
	// closes new connections.
	Reachable func(id int64) bool

	Logger *slog.Logger // default: none
}

// A Backend is a [backend.Backend]. It is safe for concurrent use.
type Backend struct {
	config Config

	mu       sync.Mutex
	machines map[int64]*machine
}

// New returns a backend without nodes.
func New(config Config) *Backend {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Backend{config: config, machines: map[int64]*machine{}}
}

// Provision starts a server for each node, unless it runs already. Its answer
// has an address of 127.77.0.0/16, for high IDs of a network further up, which is
// the hostname too as no name would resolve; ssh_port, by a number; and
// ssh_host_key.
func (b *Backend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	select {
	case <-time.After(b.config.ProvisionDelay):
	case <-ctx.Done():
	}
	return b.each(ctx, req.Nodes, func(node *backend.Node) error {
		m := b.machines[node.ID]
		if m == nil {
			var err error
			if m, err = b.start(node.ID); err != nil {
				return err
			}
		}
		node.IPAddr, node.Hostname = m.addr.IP.String(), m.addr.IP.String()
		node.Provision = map[string]any{
			"hostname": node.Hostname, "ipaddr": node.IPAddr,
			"ssh_port": m.addr.Port, "ssh_host_key": m.hostKey,
		}
		return nil
	})
}

// Deprovision stops the servers of nodes, with the commands of their sessions, and
// removes their home directories, those that an earlier process left behind as
// well.
func (b *Backend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	return b.each(ctx, req.Nodes, func(node *backend.Node) error { return b.remove(node.ID) })
}

// Close removes all nodes.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for id := range b.machines {
		errs = append(errs, b.remove(id))
	}
	return errors.Join(errs...)
}

func (b *Backend) start(id int64) (*machine, error) {
	ip, err := address(id)
	if err != nil {
		return nil, err
	}
	if err := makeHome(b.home(id), b.config.AuthorizedKey); err != nil {
		return nil, err
	}
	reachable := func() bool { return b.config.Reachable == nil || b.config.Reachable(id) }
	m, err := startMachine(b.home(id), ip, b.config.Port, reachable, b.config.Logger)
	if err == nil {
		b.machines[id] = m
	}
	return m, err
}

// each does work for one node after the other, with b.mu held, and returns those
// it succeeded for, or the errors if there are none.
func (b *Backend) each(ctx context.Context, nodes []backend.Node, work func(*backend.Node) error) ([]backend.Node, error) {
	if !filepath.IsAbs(b.config.Dir) {
		return nil, fmt.Errorf("loopback: Config.Dir is %q, not an absolute path", b.config.Dir)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	var done []backend.Node
	for _, node := range nodes {
		err := ctx.Err()
		if err == nil {
			err = work(&node)
		}
		if err == nil {
			done = append(done, node)
			continue
		}
		errs = append(errs, fmt.Errorf("node %d: %w", node.ID, err))
		b.config.Logger.ErrorContext(ctx, "loopback node failed", "node", node.ID, "error", err)
	}
	if len(done) == 0 {
		return nil, errors.Join(errs...)
	}
	return done, nil
}

func (b *Backend) remove(id int64) error {
	if m := b.machines[id]; m != nil {
		m.stop()
		delete(b.machines, id)
	}
	return os.RemoveAll(b.home(id))
}

func (b *Backend) home(id int64) string {
	return filepath.Join(b.config.Dir, fmt.Sprintf("node-%d", id))
}
