package clientcli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

type listSessions struct{}

func (*listSessions) Run(ctx context.Context, k *kong.Context, c *Command) error {
	return c.run(ctx, k, http.MethodGet, "/sessions", nil)
}

type showSession struct {
	ID int64 `arg:"" help:"Number of the session."`
}

func (cmd *showSession) Run(ctx context.Context, k *kong.Context, c *Command) error {
	return c.run(ctx, k, http.MethodGet, sessionPath(cmd.ID), nil)
}

type requestSession struct {
	NodesSpecs []nodesSpec `arg:"" name:"nodes-specs" placeholder:"pool=POOL,quantity=QUANTITY" help:"Which nodes: pool=POOL,quantity=QUANTITY, once or more."`
}

func (cmd *requestSession) Run(ctx context.Context, k *kong.Context, c *Command) error {
	body := apiv1.SessionCreate{}
	for _, spec := range cmd.NodesSpecs {
		body.NodesSpecs = append(body.NodesSpecs, apiv1.NodesSpec(spec))
	}
	err := c.run(ctx, k, http.MethodPost, "/sessions", body)
	if answerLost(err) {
		return fmt.Errorf("%w; the session may have been granted: list-sessions shows it", err)
	}
	return err
}

// answerLost reports whether a request may have reached the API although its
// answer did not come back.
func answerLost(err error) bool {
	var foreign *client.Error
	if errors.As(err, &foreign) {
		return foreign.Body == nil
	}
	var connection *net.OpError
	if errors.As(err, &connection) && connection.Op == "dial" {
		return false
	}
	return errors.As(err, new(*url.Error))
}

type extendSession struct {
	ID        int64  `arg:"" help:"Number of the session."`
	ExpiresAt string `arg:"" help:"By how much, such as +1h30m (after --, -30m too), or until when, such as 2026-11-22T15:43:00Z."`
}

func (cmd *extendSession) Run(ctx context.Context, k *kong.Context, c *Command) error {
	body := apiv1.SessionUpdate{ExpiresAt: new(apiv1.TimeSpec(cmd.ExpiresAt))}
	return c.run(ctx, k, http.MethodPut, sessionPath(cmd.ID), body)
}

type retireSession struct {
	ID int64 `arg:"" help:"Number of the session."`
}

func (cmd *retireSession) Run(ctx context.Context, k *kong.Context, c *Command) error {
	body := apiv1.SessionUpdate{Active: new(apiv1.Boolean(false))}
	return c.run(ctx, k, http.MethodPut, sessionPath(cmd.ID), body)
}

type listPools struct{}

func (*listPools) Run(ctx context.Context, k *kong.Context, c *Command) error {
	return c.run(ctx, k, http.MethodGet, "/pools", nil)
}

type showPool struct {
	Name string `arg:"" help:"Name of the pool."`
}

func (cmd *showPool) Run(ctx context.Context, k *kong.Context, c *Command) error {
	return c.run(ctx, k, http.MethodGet, "/pools/"+url.PathEscape(cmd.Name), nil)
}

func sessionPath(id int64) string { return fmt.Sprintf("/sessions/%d", id) }

// nodesSpec is an argument like pool=POOL,quantity=QUANTITY.
type nodesSpec apiv1.NodesSpec

// UnmarshalText implements [encoding.TextUnmarshaler], for kong.
func (s *nodesSpec) UnmarshalText(text []byte) error {
	values := map[string]string{}
	for item := range strings.SplitSeq(string(text), ",") {
		key, value, found := strings.Cut(item, "=")
		if _, again := values[key]; again {
			return fmt.Errorf("duplicate key %q in %q", key, text)
		}
		if !found || key != "pool" && key != "quantity" {
			return fmt.Errorf("%q in %q is neither pool=POOL nor quantity=QUANTITY", item, text)
		}
		values[key] = value
	}
	if values["pool"] == "" || values["quantity"] == "" {
		return fmt.Errorf("%q must have both pool and quantity", text)
	}
	quantity, err := strconv.ParseInt(strings.TrimSpace(values["quantity"]), 10, 32)
	if err != nil || quantity < 1 {
		return fmt.Errorf("quantity %q in %q is not a number of at least 1", values["quantity"], text)
	}
	*s = nodesSpec{Quantity: apiv1.Integer(quantity), Pool: values["pool"]}
	return nil
}
