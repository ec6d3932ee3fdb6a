package duffy_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/fake"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// A program keeps a pool of its own machines, here fake ones, and hands one out
// without any HTTP.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	machines := fake.New()
	pools, err := pool.NewSet(pool.Config{Name: "small", FillLevel: new(2), Backend: "fake"})
	if err != nil {
		log.Fatal(err)
	}
	d, err := duffy.New(ctx, duffy.Config{Database: "sqlite://", Pools: pools}, duffy.Options{
		Backends:       map[string]backend.Backend{"fake": machines},
		Contextualizer: machines,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	worked := make(chan error)
	go func() { worked <- d.Work(ctx) }()

	alice, _, err := d.Tenants.Create(ctx, tenant.Tenant{Name: "alice", SSHKey: "ssh-ed25519 AAAA alice"})
	if err != nil {
		log.Fatal(err)
	}
	for ready := 0; ready < 2; time.Sleep(10 * time.Millisecond) {
		levels, err := d.Pools.Levels(ctx, "small")
		if err != nil {
			log.Fatal(err)
		}
		ready = levels[pool.Ready]
	}
	s, err := d.Sessions.Request(ctx, alice, session.Request{Specs: []session.Spec{{Quantity: 1, Pool: "small"}}})
	if err != nil {
		log.Fatal(err)
	}
	node := s.Nodes[0]
	machine, _ := machines.Machine(node.ID)
	fmt.Println(node.Hostname, "is", node.State, "and lets in", machine.SSHKey)

	if _, err := d.Sessions.Update(ctx, alice, s.ID, session.Update{Retire: true}); err != nil {
		log.Fatal(err)
	}
	stop()
	fmt.Println("stopped:", <-worked)
	// Output:
	// node-1.test is deployed and lets in ssh-ed25519 AAAA alice
	// stopped: <nil>
}

// The configuration files are those of Duffy 3. What is wrong with them is told
// by file and line.
func ExampleLoadConfig() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "duffy.yaml")
	if err := os.WriteFile(file, []byte(`
defaults:
  session-lifetime: soon
nodepools:
  concrete:
    small:
      extends: virtual
`), 0o600); err != nil {
		log.Fatal(err)
	}
	_, err = duffy.LoadConfig(dir)
	fmt.Println(strings.ReplaceAll(err.Error(), dir+"/", ""))
	// Output:
	// duffy.yaml:3: defaults.session-lifetime: expected a duration such as 90s, 1h30m or 1w2d3h4m5s6ms, or a number of seconds, found "soon"
}
