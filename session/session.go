// Package session hands nodes out to tenants in sessions and takes them back.
package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/tenant"
)

// A Session is a number of nodes that a tenant has for a time, in Duffy 3's
// table sessions.
type Session struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID        int64 `bun:",pk,autoincrement"`
	TenantID  int64
	CreatedAt time.Time `bun:",nullzero,default:current_timestamp"`
	RetiredAt *time.Time
	ExpiresAt *time.Time
	Data      Data `bun:"type:json"`

	Tenant *tenant.Tenant `bun:"rel:belongs-to,join:tenant_id=id"`

	// Nodes are in the order in which their pools were asked for. Those of a
	// retired session are as they were when they were handed out, but for names
	// and state.
	Nodes []*pool.Node `bun:"-"`
}

// Active tells whether the session still holds its nodes.
func (s *Session) Active() bool { return s.RetiredAt == nil }

// Data is what was asked for.
type Data struct {
	NodesSpecs []Spec `json:"nodes_specs"`
}

// A Spec asks for a number of nodes of a pool.
type Spec struct {
	Quantity int    `json:"quantity"`
	Pool     string `json:"pool"`
}

// sortNodes brings nodes into the order of the specs.
func (s *Session) sortNodes() {
	rank := map[string]int{}
	for i, spec := range slices.Backward(s.Data.NodesSpecs) {
		rank[spec.Pool] = i
	}
	slices.SortFunc(s.Nodes, func(a, b *pool.Node) int {
		return cmp.Or(cmp.Compare(rank[a.Pool], rank[b.Pool]), cmp.Compare(a.ID, b.ID))
	})
}

// A hold records that a session had a node, in Duffy 3's table sessions_nodes.
type hold struct {
	bun.BaseModel `bun:"table:sessions_nodes,alias:sn"`

	SessionID int64 `bun:",pk"`
	NodeID    int64 `bun:",pk"`
	Pool      string
	Data      pool.Data `bun:"type:json"` // of the node when it was handed out
}
