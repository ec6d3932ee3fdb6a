package session

import (
	"context"

	"github.com/duffy-ci/duffy/tenant"
)

// A Usage is what a tenant has at the moment.
type Usage struct {
	Tenant   string // name
	Sessions int    // active ones
	Nodes    int    // in them, as they count towards the quota
	Quota    int    // 0 for administrators, who have none
}

// usageQuery has nodes counted session by session, since a join may read those of
// all retired sessions too.
const usageQuery = `SELECT t.id, t.name, t.is_admin, t.node_quota, count(s.id) AS sessions,
	COALESCE(sum(CAST((SELECT count(*) FROM sessions_nodes AS sn WHERE sn.session_id = s.id) AS integer)), 0) AS nodes
FROM tenants AS t
LEFT JOIN sessions AS s ON s.tenant_id = t.id AND s.retired_at IS NULL
WHERE t.retired_at IS NULL OR s.id IS NOT NULL
GROUP BY t.id, t.name, t.is_admin, t.node_quota ORDER BY t.id`

// Usage returns what every tenant has that is active or has sessions still, in
// the order of their IDs. It costs the same however many sessions are retired.
func (s *Service) Usage(ctx context.Context) ([]Usage, error) {
	var rows []struct {
		ID        int64
		Name      string
		IsAdmin   bool
		NodeQuota *int
		Sessions  int
		Nodes     int
	}
	err := s.db.NewRaw(usageQuery).Scan(ctx, &rows)
	usages := make([]Usage, len(rows))
	for i, r := range rows {
		usages[i] = Usage{Tenant: r.Name, Sessions: r.Sessions, Nodes: r.Nodes}
		if !r.IsAdmin {
			usages[i].Quota = s.tenants.Limits(&tenant.Tenant{NodeQuota: r.NodeQuota}).NodeQuota
		}
	}
	return usages, err
}
