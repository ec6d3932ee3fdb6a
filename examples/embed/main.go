// Command embed is a web service of its own with Duffy in it: Duffy's API under
// /api/v1, machines of its own kind, and a page that Duffy knows nothing of.
//
//	go run ./examples/embed -listen localhost:8080
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/backend"
	directories "github.com/duffy-ci/duffy/examples/backend"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

func main() {
	listen := flag.String("listen", "localhost:8080", "where to serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root, err := os.MkdirTemp("", "embed-")
	if err == nil {
		defer os.RemoveAll(root)
		err = run(ctx, *listen, root)
	}
	if err != nil {
		log.Println(err)
	}
}

// run serves until ctx ends. All there is to Duffy is in here.
func run(ctx context.Context, listen, root string) error {
	pools, err := pool.NewSet(pool.Config{
		Name: "directories", FillLevel: new(2),
		Backend: "directories", Settings: map[string]any{"root": root},
	})
	if err != nil {
		return err
	}
	d, err := duffy.New(ctx, duffy.Config{Database: "sqlite://", Pools: pools}, duffy.Options{
		Backends:       map[string]backend.Backend{"directories": directories.Backend{}},
		Contextualizer: directories.Backend{},
	})
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	ci, key, err := d.Tenants.Create(ctx, tenant.Tenant{Name: "ci", SSHKey: "ssh-ed25519 AAAA"})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", d.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Duffy is under /api/v1.") })
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/api/v1 knows tenant %s by key %s\n", listener.Addr(), ci.Name, key)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())
	return d.Work(ctx)
}
