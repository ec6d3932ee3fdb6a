package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

func (a *api) nodes(g huma.API) {
	tag := []string{"nodes"}
	handle(a, g, optional, listOperation[apiv1.NodesResult](g, huma.Operation{
		OperationID: "list-nodes", Method: http.MethodGet, Path: "/nodes", Tags: tag,
		Summary:     "List active nodes",
		Description: "Administrators see the data of all nodes, tenants that of the nodes in their own active sessions.",
	}), a.listNodes)
	handle(a, g, tenants, huma.Operation{
		OperationID: "get-node", Method: http.MethodGet, Path: "/nodes/{id}", Tags: tag,
		Summary: "Get a node",
		Errors:  []int{http.StatusNotFound},
	}, a.getNode)
	handle(a, g, tenants, huma.Operation{
		OperationID: "create-node", Method: http.MethodPost, Path: "/nodes", Tags: tag,
		Summary:       "Add a node",
		Description:   "For administrators. The node is unused until a pool reuses it.",
		DefaultStatus: http.StatusCreated,
		Errors:        []int{http.StatusConflict},
	}, a.createNode)
}

func (a *api) listNodes(ctx context.Context, q *listQuery) (*listOutput, error) {
	held, err := a.held(ctx)
	if err != nil {
		return nil, err
	}
	return a.list(ctx, q, "nodes", func(ctx context.Context, after int64, most int) ([]item, error) {
		nodes, err := a.Pools.NodesPage(ctx, after, most)
		items := make([]item, len(nodes))
		for i, n := range nodes {
			items[i] = item{n.ID, node(a.sees(ctx, heldBy(n, held)).node(n))}
		}
		return items, err
	})
}

func (a *api) getNode(ctx context.Context, in *byID) (*output[apiv1.NodeResult], error) {
	n, err := a.Pools.Node(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	held, err := a.held(ctx)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.NodeResult{Action: apiv1.ActionGet, Node: node(a.sees(ctx, heldBy(n, held)).node(n))}), nil
}

// held returns the ids of the caller's active sessions. An administrator needs none
// to see every node.
func (a *api) held(ctx context.Context) (map[int64]bool, error) {
	by := caller(ctx)
	if by == nil || by.IsAdmin {
		return nil, nil
	}
	return a.Sessions.ActiveIDs(ctx, by.ID)
}

// heldBy tells whether one of the sessions holds a node.
func heldBy(n *pool.Node, sessions map[int64]bool) bool {
	return n.SessionID != nil && sessions[*n.SessionID]
}

type nodeCreate struct{ Body apiv1.NodeCreate }

func (a *api) createNode(ctx context.Context, in *nodeCreate) (*output[apiv1.NodeResult], error) {
	if !caller(ctx).IsAdmin {
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	if _, err := netip.ParseAddr(in.Body.IPAddr); err != nil {
		return nil, fault.Newf(fault.Invalid, "body.ipaddr: value is not a valid IPv4 or IPv6 address")
	}
	n := pool.Node{
		Hostname: in.Body.Hostname, IPAddr: in.Body.IPAddr, Comment: in.Body.Comment,
		Reusable: in.Body.Reusable == nil || bool(*in.Body.Reusable), Data: in.Body.Data,
	}
	if in.Body.Pool != nil {
		n.Pool = *in.Body.Pool
	}
	created, err := a.Pools.CreateNode(ctx, n)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.NodeResult{Action: apiv1.ActionPost, Node: node(a.sees(ctx, false).node(created))}), nil
}

func node(n *pool.Node) apiv1.Node {
	return apiv1.Node{
		RetiredAt: timeOf(n.RetiredAt), Active: n.Active(), CreatedAt: apiv1.Time{Time: n.CreatedAt},
		Hostname: orNull(n.Hostname), IPAddr: orNull(n.IPAddr), Comment: n.Comment, Pool: orNull(n.Pool),
		Reusable: n.Reusable, Data: n.Data, ID: n.ID, State: string(n.State),
	}
}
