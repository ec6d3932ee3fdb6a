package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
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

	url string

	// Requests of the first two are shown, those of watch would be too many.
	tenant, anyone, watch *client.Client

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
	api := s.url + httpapi.Prefix
	var err error
	if s.watch, err = client.New(api, client.Config{}); err != nil {
		return nil, err
	}
	s.anyone, err = client.New(api, client.Config{HTTPClient: &http.Client{Transport: demoTransport{s.screen}}})
	if err != nil {
		return nil, err
	}
	s.tenant = s.anyone.As(demoTenant, apiKey)
	return s, nil
}

// tell tells the story once, and waits for ctx to end then unless once is set.
func (s *demoStory) tell(ctx context.Context, once bool) error {
	s.screen.line("Duffy serves %s, with its docs at %s/docs/.", s.url+httpapi.Prefix, s.url)
	s.screen.line("Database, keys and the nodes' homes are in %s, which %s at the end.", s.dir.path, s.dir.fate())
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
	s.screen.heading("Duffy fills its pools before anybody asks (● is ready, ◐ being provisioned).")
	for _, c := range s.pools.Pools().Concrete() {
		if _, err := s.anyone.GetPool(ctx, c.Name); err != nil {
			return err
		}
	}
	if err := s.untilFull(ctx); err != nil {
		return err
	}
	if _, err := s.anyone.ListNodes(ctx); err != nil {
		return err
	}
	nodes, err := s.pools.Nodes(ctx) // the API does not tell the tenant how to log in to them
	if err != nil {
		return err
	}
	for _, n := range nodes {
		node, err := newDemoNode(n.ID, &n.Pool, &n.IPAddr, n.Data)
		if err != nil {
			return err
		}
		if err := node.tryLogin(ctx, s.dir.tenantKey); !errors.Is(err, errDenied) {
			return fmt.Errorf("node %d should deny the tenant permission to log in, but: %w", n.ID, err)
		}
	}
	s.screen.line("%d nodes. The tenant logs in to none of them: %s.", len(nodes), errDenied)
	return nil
}

func (s *demoStory) request(ctx context.Context) error {
	s.screen.heading("The tenant has no session, and requests one with a virtual and three physical nodes.")
	if _, err := s.tenant.ListSessions(ctx); err != nil {
		return err
	}
	return s.open(ctx, apiv1.NodesSpec{Quantity: 1, Pool: "virtual"}, apiv1.NodesSpec{Quantity: 3, Pool: "physical"})
}

func (s *demoStory) open(ctx context.Context, specs ...apiv1.NodesSpec) (err error) {
	// Ctrl-C lets a request be finished that has begun, so that it need not be undone.
	whole := context.WithoutCancel(ctx)
	if s.session, err = s.tenant.RequestSession(whole, apiv1.SessionCreate{NodesSpecs: specs}); err != nil {
		return err
	}
	if s.nodes, err = demoNodesOf(s.session); err != nil {
		return err
	}
	var ips []string
	for _, n := range s.nodes {
		ips = append(ips, n.ip)
	}
	s.screen.line("Session %d has %s until %s.", s.session.ID, strings.Join(ips, ", "),
		s.session.ExpiresAt.Local().Format("15:04"))
	return nil
}

func (s *demoStory) login(ctx context.Context) error {
	s.screen.heading("It logs in to each of them and runs: " + demoCommand)
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
	s.screen.heading("It gives them back, and is locked out. Virtual nodes are removed, physical ones set up anew.")
	if _, err := s.tenant.RetireSession(ctx, s.session.ID); err != nil {
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
		err := n.tryLogin(ctx, s.dir.tenantKey)
		for !errors.Is(err, errDenied) && !errors.Is(err, errRefused) {
			if err := pause(ctx); err != nil {
				return err
			}
			err = n.tryLogin(ctx, s.dir.tenantKey)
		}
		s.screen.line("%-8s  %s  login: %s", n.pool, n.ip, err)
	}
	return nil
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
			p, err := s.watch.GetPool(ctx, c.Name)
			if err != nil {
				return err
			}
			trouble, err := s.pools.Trouble(ctx, c.Name)
			if err != nil {
				return err
			}
			if trouble.Failures > 0 {
				return fmt.Errorf("pool %s cannot be filled: %s", c.Name, trouble.LastError)
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
	s.screen.heading("Your turn, until Ctrl-C: a session that stays, to be logged in to. Retire it like the first.")
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
