package legacy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

const failExtension apiv1.TimeSpec = "+6h"

// What callers are told, in the words that their scripts know.
const (
	notAllocated      = "Failed to allocate nodes"
	insufficientNodes = plainText("Insufficient Nodes in READY State")
	absent            = "Some parameters are absent"
	done              = "Done"
	notReturned       = "Failed to return nodes on completion"
	notExtended       = "Failed to change expiration time"
	invalidKey        = "Invalid duffy key"
)

// nodes is the answer to /Node/get.
type nodes struct {
	SSID  any       `json:"ssid"`
	Hosts []*string `json:"hosts"`
}

func (h *handler) nodeGet(ctx context.Context, c *call) answer {
	count, err := strconv.Atoi(strings.TrimSpace(param(c.params, "count", "1")))
	if errors.Is(err, strconv.ErrSyntax) {
		return wrongParameter("count", "value is not a valid integer", "type_error.integer")
	}
	wanted := map[string]string{"ver": param(c.params, "ver", "7"), "arch": param(c.params, "arch", "x86_64")}
	if flavor, there := c.params["flavor"]; there {
		wanted["flavor"] = flavor
	}
	pool, err := h.poolFor(wanted)
	if err != nil || pool == "" || count < 1 { // asking again does not help
		c.log.InfoContext(ctx, "no pool for these nodes", "wanted", wanted, "count", count, "err", err)
		return ok(notAllocated)
	}
	return h.request(ctx, c, count, pool)
}

// request asks for a session.
func (h *handler) request(ctx context.Context, c *call, count int, pool string) answer {
	session, err := c.api.RequestSession(ctx, apiv1.SessionCreate{
		NodesSpecs: []apiv1.NodesSpec{{Quantity: apiv1.Integer(count), Pool: pool}},
	})
	if err != nil {
		c.logFailure(ctx, err)
		if h.cfg.ErrorsV2 && mayHelpToRepeat(err) {
			return failed(err, insufficientNodes)
		}
		return failed(err, notAllocated)
	}
	granted := nodes{SSID: h.ssid(session.ID), Hosts: []*string{}}
	for _, node := range session.Nodes {
		granted.Hosts = append(granted.Hosts, h.mangle(ctx, c, node.Hostname))
	}
	return ok(granted)
}

func (h *handler) nodeDone(ctx context.Context, c *call) answer {
	return c.update(ctx, apiv1.SessionUpdate{Active: new(apiv1.Boolean(false))}, notReturned)
}

func (h *handler) nodeFail(ctx context.Context, c *call) answer {
	return c.update(ctx, apiv1.SessionUpdate{ExpiresAt: new(failExtension)}, notExtended)
}

// update changes the session that the parameters name.
func (c *call) update(ctx context.Context, change apiv1.SessionUpdate, failure string) answer {
	ssid := c.params["ssid"]
	if ssid == "" {
		return ok(absent)
	}
	id, err := strconv.ParseInt(strings.TrimSpace(ssid), 10, 64)
	if err != nil {
		return ok(failure)
	}
	if _, err := c.api.UpdateSession(ctx, id, change); err != nil {
		return c.refused(ctx, err, failure)
	}
	return ok(done)
}

// refused is the answer where the REST API did not do what it was asked for.
func (c *call) refused(ctx context.Context, err error, failure string) answer {
	c.logFailure(ctx, err)
	if status := statusOf(err); status == http.StatusUnauthorized || status == http.StatusForbidden {
		return answer{status: http.StatusForbidden, body: map[string]string{"msg": invalidKey}}
	}
	return failed(err, failure)
}

// failed is what callers are told of a failure, with the time to ask again for
// those of them that look at more than the text.
func failed(err error, text any) answer {
	a := ok(text)
	var refused *client.Error
	if errors.As(err, &refused) && refused.RetryAfter != nil {
		a.header = map[string]string{"Retry-After": fmt.Sprintf("%.0f", refused.RetryAfter.Seconds())}
	}
	return a
}

// logFailure says what the caller is not told, loudly if the REST API itself seems
// to be at fault rather than the request.
func (c *call) logFailure(ctx context.Context, err error) {
	level := slog.LevelWarn
	if statusOf(err)/100 == 4 || ctx.Err() != nil {
		level = slog.LevelInfo
	}
	c.log.Log(ctx, level, "the REST API did not do it", "err", err)
}

// mayHelpToRepeat reports whether the same request may be granted later. That of
// a key that is not valid is not.
func mayHelpToRepeat(err error) bool {
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return strings.HasPrefix(refused.Detail, "quota exceeded")
	}
	return statusOf(err) != http.StatusUnauthorized
}

// statusOf returns the status that the REST API answered with, 0 if it did not
// answer.
func statusOf(err error) int {
	var refused *client.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

func (h *handler) ssid(id int64) any {
	if h.cfg.SSIDAsString {
		return strconv.FormatInt(id, 10)
	}
	return id
}

// mangle returns the hostname that callers see.
func (h *handler) mangle(ctx context.Context, c *call, hostname *string) *string {
	if h.mangling == nil {
		return hostname
	}
	var plain string
	if hostname != nil {
		plain = *hostname
	}
	mangled, err := h.mangling.Render(map[string]any{"hostname": plain})
	if err != nil { // the session is there: without an answer it would be lost
		c.log.WarnContext(ctx, "cannot mangle hostname", "hostname", plain, "err", err)
		return hostname
	}
	return &mangled
}

func param(params map[string]string, name, otherwise string) string {
	if value, there := params[name]; there {
		return value
	}
	return otherwise
}
