// Command client runs a shell command on nodes of a pool and gives them back,
// whatever happens. It asks the API that DUFFY_URL, DUFFY_AUTH_NAME and
// DUFFY_AUTH_KEY tell about, as duffy client does:
//
//	client -pool virtual-centos9s-small-x86_64 -quantity 2 uname -a
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pool := flags.String("pool", "", "pool to take nodes of")
	quantity := flags.Int64("quantity", 1, "how many nodes")
	timeout := flags.Duration("timeout", time.Hour, "how long the command may take on all nodes")
	ssh := flags.String("ssh", "ssh -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
		"how to log in to a node")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pool == "" || flags.NArg() == 0 {
		return errors.New("usage: client -pool POOL [-quantity N] COMMAND")
	}
	duffy, err := client.New(os.Getenv("DUFFY_URL"), client.Config{
		Tenant: os.Getenv("DUFFY_AUTH_NAME"),
		Key:    os.Getenv("DUFFY_AUTH_KEY"),
	})
	if err != nil {
		return err
	}
	spec := apiv1.NodesSpec{Quantity: apiv1.Integer(*quantity), Pool: *pool}
	return withSession(ctx, duffy, spec, func(session apiv1.Session) error {
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		for _, node := range session.Nodes {
			login := append(strings.Fields(*ssh), destination(node)...)
			if err := execute(ctx, append(login, flags.Args()...), stdout, stderr); err != nil {
				return fmt.Errorf("node %s: %w", *node.IPAddr, err)
			}
		}
		return nil
	})
}

// withSession calls use with a session, and retires it afterwards. It does not
// let ctx cut off the request: without an answer nobody would know which session
// to retire.
func withSession(ctx context.Context, duffy *client.Client, spec apiv1.NodesSpec, use func(apiv1.Session) error) (err error) {
	lasting := context.WithoutCancel(ctx)
	session, err := duffy.RequestSession(lasting, apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{spec}})
	if err != nil {
		return fmt.Errorf("requesting a session: %w", err)
	}
	defer func() {
		if _, retireErr := duffy.RetireSession(lasting, session.ID); retireErr != nil {
			err = errors.Join(err, fmt.Errorf("retiring session %d: %w", session.ID, retireErr))
		}
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	return use(session)
}

// destination returns the arguments that make ssh log in to node. What its
// provisioning told about it is in its data.
func destination(node apiv1.SessionNode) []string {
	user, port := any("root"), any(22)
	if provision, ok := node.Data["provision"].(map[string]any); ok {
		user = cmp.Or(provision["ssh_user"], user)
		port = cmp.Or(provision["ssh_port"], port)
	}
	return []string{"-l", fmt.Sprint(user), "-p", fmt.Sprint(port), *node.IPAddr}
}

// execute runs a command, which it kills with all that it started when ctx ends.
func execute(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.Run()
}
