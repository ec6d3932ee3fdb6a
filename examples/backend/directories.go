// Package directories shows how to teach Duffy about machines of another kind.
// Its machines are directories, which a chrooting sshd would make something to
// log in to; with any other kind the same few methods have to be written.
//
// A pool of them is configured like this:
//
//	nodepools:
//	  concrete:
//	    directories:
//	      fill-level: 5
//	      mechanism:
//	        type: directories
//	        directories:
//	          root: /srv/nodes
package directories

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/duffy-ci/duffy/backend"
)

// A Backend is both the [backend.Backend] and the [backend.Contextualizer] of
// directories. Having no state of its own, it is safe for concurrent use.
type Backend struct{}

// Check finds mistakes in a pool's settings before anything is made of them.
func (Backend) Check(pool backend.Pool) error {
	_, err := root(pool)
	return err
}

// root returns the directory that the nodes of a pool are in.
func root(pool backend.Pool) (string, error) {
	dir, _ := pool.Settings["root"].(string)
	if !filepath.IsAbs(dir) {
		return "", &backend.SettingError{
			Path: []string{"mechanism", "directories", "root"},
			Err:  errors.New("expected the absolute path of a directory"),
		}
	}
	return dir, nil
}

// Provision makes a directory for each node. It is called what Duffy says, so that a
// second call for the same node, after a crash, finds what the first one made, and
// another Duffy on this machine does not.
func (Backend) Provision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	root, err := root(req.Pool)
	if err != nil {
		return nil, err
	}
	var made []backend.Node
	for _, node := range req.Nodes {
		if err := ctx.Err(); err != nil {
			return made, err
		}
		name := req.NodeName(node.ID)
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return made, err // operators read the reason, and what was made is cleaned up
		}
		node.IPAddr = address(name)
		node.Hostname = name + ".example.net"
		node.Provision = map[string]any{"directory": dir} // tenants see this
		made = append(made, node)
	}
	return made, nil
}

// address makes up an address of 127.0.0.0/8; a real machine has one.
func address(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("127.%d.%d.%d", sum[0], sum[1], sum[2])
}

// Deprovision removes the directories of nodes: those that provisioning told, or else
// those with their names, since nothing is known of a node whose provisioning was
// interrupted. Without the root nothing can be seen, so that nothing is gone.
func (Backend) Deprovision(ctx context.Context, req backend.Request) ([]backend.Node, error) {
	root, err := root(req.Pool)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(root); err != nil {
		return nil, err
	}
	for _, node := range req.Nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dir, ok := node.Provision["directory"].(string)
		if !ok {
			dir = filepath.Join(root, req.NodeName(node.ID))
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return req.Nodes, nil
}

// Contextualize lets the tenant in, and nobody from before.
func (Backend) Contextualize(ctx context.Context, node backend.Node, sshKey string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.WriteFile(authorizedKeys(node), []byte(sshKey), 0o600)
}

// Decontextualize locks the tenant out.
func (Backend) Decontextualize(ctx context.Context, node backend.Node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := os.Remove(authorizedKeys(node))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func authorizedKeys(node backend.Node) string {
	dir, _ := node.Provision["directory"].(string)
	return filepath.Join(dir, "authorized_keys")
}
