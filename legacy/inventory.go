package legacy

import (
	"context"
	"strconv"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

const noInventory = "Failed to retrieve inventory of nodes"

func (h *handler) inventory(ctx context.Context, c *call) answer {
	sessions, err := c.api.ListSessions(ctx)
	if err != nil && c.tenant == "" {
		c.logFailure(ctx, err)
		return failed(err, noInventory)
	}
	if err != nil {
		return c.refused(ctx, err, noInventory)
	}
	rows := [][]any{}
	for _, session := range sessions {
		for _, node := range session.Nodes {
			hostname := h.mangle(ctx, c, node.Hostname)
			if c.tenant == "" {
				rows = append(rows, row(session.ID, node, hostname))
			} else {
				rows = append(rows, []any{hostname, h.ssid(session.ID)})
			}
		}
	}
	return ok(rows)
}

// row has the columns that callers know by their places.
func row(session int64, node apiv1.SessionNode, hostname *string) []any {
	return []any{
		node.ID,
		hostname,
		node.IPAddr,
		nil, // chassis
		0,   // how often used
		node.State,
		strconv.FormatInt(session, 10), // comment
		nil,                            // distribution
		nil,                            // release
		nil,                            // version
		nil,                            // architecture
		node.Pool,
		nil, // port of the console
		nil, // flavor
	}
}
