// Command cloud is a provider of machines for tests: they are SSH servers of its
// own, and there to whoever asks for them by HTTP. It keeps a record of what it
// made, and is slow, fails, or hangs when it is told to.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/duffy-ci/duffy/backend/loopback"
)

func main() {
	dir := flag.String("dir", "", "directory for the machines and the record of them")
	listen := flag.String("listen", "", "address to listen on")
	key := flag.String("key", "", "public key that is let in to new machines")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *listen, *key); err != nil {
		fmt.Fprintln(os.Stderr, "cloud:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, listen, key string) error {
	record, err := os.OpenFile(filepath.Join(dir, "record"), os.O_CREATE|os.O_APPEND|os.O_WRONLY|os.O_SYNC, 0o600)
	if err != nil {
		return err
	}
	defer record.Close()
	c := &cloud{dir: filepath.Join(dir, "machines"), record: record}
	c.machines = loopback.New(loopback.Config{Dir: c.dir, AuthorizedKey: key, Reachable: c.reachable})
	defer c.machines.Close()
	server := &http.Server{Addr: listen, Handler: c.handler()}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}
