package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// A demoNode is a node as the tenant sees it.
type demoNode struct {
	id       int64
	pool     string
	ip, port string
	hostKey  ssh.PublicKey
}

// demoNodesOf returns the nodes of a session.
func demoNodesOf(session apiv1.Session) ([]demoNode, error) {
	nodes := make([]demoNode, len(session.Nodes))
	for i, n := range session.Nodes {
		var err error
		if nodes[i], err = newDemoNode(n.ID, n.Pool, n.IPAddr, n.Data); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// newDemoNode takes what the API tells about a node. What backend/loopback told
// about it is in data.
func newDemoNode(id int64, pool, ip *string, data map[string]any) (demoNode, error) {
	provision, _ := data["provision"].(map[string]any)
	line, _ := provision["ssh_host_key"].(string)
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || pool == nil || ip == nil {
		return demoNode{}, fmt.Errorf("the API does not tell how to log in to node %d", id)
	}
	return demoNode{id, *pool, *ip, fmt.Sprint(provision["ssh_port"]), hostKey}, nil
}

// login returns the command that logs in to the node.
func (n demoNode) login(key demoKey) string {
	return fmt.Sprintf("ssh -i %s -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p %s root@%s",
		shellescape.Quote(key.file), n.port, n.ip)
}

const demoNodeTimeout = 10 * time.Second

// errDenied is what a node says to a key that it does not know, errRefused what
// it says that is gone.
var (
	errDenied  = errors.New("permission denied")
	errRefused = errors.New("connection refused")
)

// connect logs in to the node. The connection ends with ctx.
func (n demoNode) connect(ctx context.Context, key demoKey) (*ssh.Client, error) {
	address := net.JoinHostPort(n.ip, n.port)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errRefused
	} else if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	known := false
	sshConn, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(name string, addr net.Addr, key ssh.PublicKey) error {
			err := ssh.FixedHostKey(n.hostKey)(name, addr, key)
			known = err == nil
			return err
		},
	})
	if known && err != nil && strings.Contains(err.Error(), "unable to authenticate") {
		return nil, errDenied
	} else if err != nil {
		return nil, err
	}
	return ssh.NewClient(sshConn, channels, requests), nil
}

// tryLogin returns errDenied, errRefused or whatever else keeps the holder of
// key out, or nil.
func (n demoNode) tryLogin(ctx context.Context, key demoKey) error {
	ctx, cancel := context.WithTimeout(ctx, demoNodeTimeout)
	defer cancel()
	_, err := n.connect(ctx, key)
	return err
}

// run logs in to the node and returns what command prints there.
func (n demoNode) run(ctx context.Context, key demoKey, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, demoNodeTimeout)
	defer cancel()
	client, err := n.connect(ctx, key)
	if err != nil {
		return "", err
	}
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	output, err := session.CombinedOutput(command)
	return strings.TrimSpace(string(output)), err
}
