package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/pool"
)

// A demoStory is what happens to a tenant and the nodes of its session.
type demoStory struct {
	screen demoScreen
	dir    *demoDir
	pools  *pool.Service // why they cannot be filled is for operators to know

	url          string
	shown, quiet *client.Client // whose requests are shown, or would be too many

	session apiv1.Session
	nodes   []demoNode
}

const (
	demoPoll = 50 * time.Millisecond

	// demoPatience is how long anything in the story may take. It takes seconds.
	demoPatience = 2 * time.Minute

	demoCommand = `echo "$(id -un) at $(uname -n), in $PWD"`
)

func newDemoStory(out io.Writer, d *duffy.Duffy, dir *demoDir, address, apiKey string) (*demoStory, error) {
	s := &demoStory{screen: newDemoScreen(out), dir: dir, pools: d.Pools, url: "http://" + address}
	cfg := client.Config{Tenant: demoTenant, Key: apiKey}
	var err error
	if s.quiet, err = client.New(s.url+httpapi.Prefix, cfg); err != nil {
		return nil, err
	}
	cfg.HTTPClient = &http.Client{Transport: demoTransport{s.screen}}
	s.shown, err = client.New(s.url+httpapi.Prefix, cfg)
	return s, err
}

// tell tells the story once, and waits for ctx to end then unless once is set.
func (s *demoStory) tell(ctx context.Context, once bool) error {
	s.screen.line("Duffy serves %s, with its docs at %s/docs/.", s.url+httpapi.Prefix, s.url)
	s.screen.line("Database, keys and the nodes' homes are in %s.", s.dir.path)
	s.screen.line("The nodes are SSH servers in this process: commands on them run on this machine, as you.")
	scenes := []func(context.Context) error{s.fill, s.request, s.login, s.retire}
	if !once {
		scenes = append(scenes, s.invite)
	}
	for _, scene := range scenes {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	if !once {
		<-ctx.Done()
	}
	return nil
}

func (s *demoStory) fill(ctx context.Context) error {
	s.screen.heading("Duffy fills its pools before anybody asks. ● is ready, ◐ being provisioned.")
	for _, p := range s.pools.Pools().Concrete() {
		if _, err := s.shown.GetPool(ctx, p.Name); err != nil {
			return err
		}
	}
	if err := s.untilFull(ctx); err != nil {
		return err
	}
	nodes, err := s.shown.ListNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		node, err := newDemoNode(n.ID, n.Pool, n.IPAddr, n.Data)
		if err != nil {
			return err
		}
		if _, err := node.run(ctx, s.dir.tenantKey, demoCommand); !errors.Is(err, errDenied) {
			return fmt.Errorf("node %d does not keep the tenant out before it has a session: %w", n.ID, err)
		}
	}
	s.screen.line("The tenant cannot log in to any of these %d nodes: %s.", len(nodes), errDenied)
	return nil
}

func (s *demoStory) request(ctx context.Context) error {
	s.screen.heading("The tenant requests a session with one virtual and three physical nodes.")
	return s.open(ctx, apiv1.NodesSpec{Quantity: 1, Pool: "virtual"}, apiv1.NodesSpec{Quantity: 3, Pool: "physical"})
}

func (s *demoStory) open(ctx context.Context, specs ...apiv1.NodesSpec) (err error) {
	if s.session, err = s.shown.RequestSession(ctx, apiv1.SessionCreate{NodesSpecs: specs}); err != nil {
		return err
	}
	s.screen.line("Session %d has %d of %d nodes until %s.", s.session.ID, len(s.session.Nodes),
		s.session.Tenant.EffectiveNodeQuota, s.session.ExpiresAt.Local().Format("15:04"))
	s.nodes, err = demoNodesOf(s.session)
	return err
}

func (s *demoStory) login(ctx context.Context) error {
	s.screen.heading("The tenant logs in to each and runs: " + demoCommand)
	s.screen.line("%s", s.nodes[0].login(s.dir.tenantKey))
	for _, n := range s.nodes {
		output, err := n.run(ctx, s.dir.tenantKey, demoCommand)
		if err != nil {
			return fmt.Errorf("log in to node %d: %w", n.id, err)
		}
		s.screen.line("%-8s  %s  %s", n.pool, n.ip, output)
	}
	return nil
}

func (s *demoStory) retire(ctx context.Context) error {
	s.screen.heading("The tenant gives the nodes back. Duffy locks it out, cleans up and fills the pools again.")
	if _, err := s.shown.RetireSession(ctx, s.session.ID); err != nil {
		return err
	}
	if err := s.untilLockedOut(ctx); err != nil {
		return err
	}
	return s.untilFull(ctx)
}

// untilLockedOut waits until the tenant cannot log in to its nodes any more.
func (s *demoStory) untilLockedOut(ctx context.Context) error {
	ctx, cancel := patiently(ctx, "the tenant can still log in to its nodes")
	defer cancel()
	for _, n := range s.nodes {
		for {
			_, err := n.run(ctx, s.dir.tenantKey, "true")
			if err != nil && ctx.Err() == nil {
				s.screen.line("%-8s  %s  %s", n.pool, n.ip, refusal(err))
				break
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusal says why a login failed, the way of ssh.
func refusal(err error) string {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "connection refused"
	}
	return err.Error()
}

// untilFull shows how the pools are filled until all are.
func (s *demoStory) untilFull(ctx context.Context) error {
	ctx, cancel := patiently(ctx, "the pools are not full")
	defer cancel()
	show, done := s.screen.live()
	defer done()
	for {
		allFull := true
		var pictures []string
		for _, c := range s.pools.Pools().Concrete() {
			p, err := s.quiet.GetPool(ctx, c.Name)
			if err != nil {
				return err
			}
			if trouble, err := s.pools.Trouble(ctx, c.Name); err != nil || trouble.Failures > 0 {
				return errors.Join(err, fmt.Errorf("pool %s cannot be filled: %s", c.Name, trouble.LastError))
			}
			text, full := picture(p)
			pictures = append(pictures, text)
			allFull = allFull && full
		}
		show(strings.Join(pictures, "   "))
		if allFull {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// invite leaves the user with a session to play with.
func (s *demoStory) invite(ctx context.Context) error {
	s.screen.heading("Your turn, until Ctrl-C. Here is a session for you; all commands above can be pasted, too.")
	if err := s.open(ctx, apiv1.NodesSpec{Quantity: 1, Pool: "virtual"}); err != nil {
		return err
	}
	s.screen.line("%s", s.nodes[0].login(s.dir.tenantKey))
	return nil
}

func patiently(ctx context.Context, otherwise string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, demoPatience, fmt.Errorf("%s after %s", otherwise, demoPatience))
}

// pause lets a moment pass before something is looked at again.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(demoPoll):
		return nil
	}
}
