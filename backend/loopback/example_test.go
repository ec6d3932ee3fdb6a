package loopback_test

import (
	"context"
	"fmt"
	"os"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/loopback"
)

// A program that embeds Duffy has nodes to test with in no time.
func Example() {
	dir, err := os.MkdirTemp("", "nodes")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	machines := loopback.New(loopback.Config{
		Dir:           dir,
		AuthorizedKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP8eMa0yOWoCFmFbLi1VMVzkfmHAhxSYhr6qXvFbBFhF duffy",
	})
	defer machines.Close()

	nodes, err := machines.Provision(context.Background(), backend.Request{Nodes: []backend.Node{{ID: 1}, {ID: 2}}})
	if err != nil {
		panic(err)
	}
	for _, node := range nodes {
		fmt.Println("node", node.ID, "is at", node.IPAddr)
	}
	// Output:
	// node 1 is at 127.77.0.1
	// node 2 is at 127.77.0.2
}
