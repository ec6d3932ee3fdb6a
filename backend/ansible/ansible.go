// Package ansible is Duffy's default backend: playbooks make the machines, and
// remove them. It does with them as Duffy 3 did.
//
// A pool's settings:
//
//	mechanism:
//	  type: ansible
//	  ansible:
//	    topdir: /srv/playbooks       # where playbooks run: inventories, roles, ansible.cfg
//	    extra-vars: {...}            # for all playbooks
//	    provision:
//	      playbook: provision.yml    # below topdir, or an absolute path
//	      extra-vars: {...}          # these win over the ones above
//	    deprovision:                 # may be left out: nothing is to be done then
//	      playbook: deprovision.yml
//	      extra-vars: {...}
//
// Strings in extra-vars are Jinja2 templates over the pool's configuration and
// duffy_in, see [github.com/duffy-ci/duffy/internal/jinja].
//
// A playbook is given the variable duffy_in: installation, which Duffy this is, and
// nodes, a list of id, name (which is for the machine, see [backend.Request.NodeName]),
// hostname and ipaddr (null if not known), and of data if it deprovisions. It
// ends with setting the fact duffy_out, whose nodes are a list of mappings.
//
// Ansible renders extra-vars once more, as it did with Duffy 3, but never text from
// outside of the configuration: the strings and keys of duffy_in, and of extra-vars
// whose template names duffy_in, are marked unsafe.
//
// The first one of a provision playbook is for the first node, and so on. Each
// needs ipaddr, may have hostname, and is kept as a whole in data.provision, with
// numbers as [encoding/json.Number]. The ones of a deprovision playbook name the
// nodes that are gone, by any number of values out of their data.provision. A node
// that has none, since provisioning it was interrupted, is named by values out of
// duffy_in.
//
// The environment of playbooks is Duffy's own with a few things added. As with
// Duffy 3, host keys are not checked unless ANSIBLE_HOST_KEY_CHECKING is set, the
// standard output is that of the default callback unless ANSIBLE_STDOUT_CALLBACK is
// set, facts are not cached, and callback_plugins of ansible.cfg is not in effect
// (ANSIBLE_CALLBACK_PLUGINS is).
package ansible

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/duffy-ci/duffy/backend"
)

// A Config tells how playbooks are run. The zero Config is ready to use.
type Config struct {
	// Logger gets the output of playbooks, line by line, at debug level. nil
	// discards it.
	Logger *slog.Logger

	// Concurrency is how many playbooks run at the same time, 8 if zero. The
	// others wait. Starting one takes about a second of CPU time.
	Concurrency int

	// Playbook is the command to run, "ansible-playbook" if empty.
	Playbook string

	// Environment has variables for playbooks, as KEY=value, beside those of
	// Duffy's own environment.
	Environment []string
}

// A Backend runs playbooks. It is safe for concurrent use.
type Backend struct {
	logger      *slog.Logger
	command     string
	environment []string
	slots       chan struct{}
	locks       nodeLocks
	probed      sync.Map // of each program that passed the probe
}

// New returns a backend that runs playbooks as cfg tells.
func New(cfg Config) *Backend {
	b := &Backend{logger: cfg.Logger, command: cfg.Playbook, environment: cfg.Environment}
	if b.logger == nil {
		b.logger = slog.New(slog.DiscardHandler)
	}
	if b.command == "" {
		b.command = "ansible-playbook"
	}
	slots := cfg.Concurrency
	if slots <= 0 {
		slots = 8
	}
	b.slots = make(chan struct{}, slots)
	return b
}

// Provision runs the pool's provision playbook once, for all nodes of req. If it
// succeeded for some of them only, those are returned and the log tells about the
// others; if for none, the error does.
func (b *Backend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	s, err := parse(req.Pool.Settings)
	if err != nil {
		return nil, err
	}
	results, err := b.run(ctx, req, s, s.provision, duffyIn(req, false))
	if err != nil {
		return nil, err
	}
	usable, unusable, faults := pair(req.Nodes, results)
	provisioned, err := b.some(req, s.provision, usable, faults)
	return append(provisioned, unusable...), err
}

// Deprovision runs the pool's deprovision playbook once, for all nodes of req. A
// pool without one has nothing to remove. What it returns is as for Provision.
func (b *Backend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s, err := parse(req.Pool.Settings)
	if err != nil {
		return nil, err
	}
	if s.deprovision == nil {
		return req.Nodes, nil
	}
	results, err := b.run(ctx, req, s, s.deprovision, duffyIn(req, true))
	if err != nil {
		return nil, err
	}
	gone, faults := match(req, results)
	return b.some(req, s.deprovision, gone, faults)
}

// some returns nodes, the ones that a playbook succeeded for.
func (b *Backend) some(req backend.Request, p *playbook, nodes []backend.Node, faults []string) ([]backend.Node, error) {
	if len(nodes) == 0 && len(faults) > 0 {
		return nil, errors.New(p.path + ": " + strings.Join(faults, "; "))
	}
	for _, fault := range faults {
		b.logger.Error("playbook gave a wrong result", "playbook", p.path, "pool", req.Pool.Name, "nodes", ids(req.Nodes), "reason", fault)
	}
	return nodes, nil
}

func ids(nodes []backend.Node) []int64 {
	ids := make([]int64, len(nodes))
	for i, node := range nodes {
		ids[i] = node.ID
	}
	return ids
}
