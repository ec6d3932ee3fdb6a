package httpapi

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/duration"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
)

func (a *api) sessions(g huma.API) {
	tag := []string{"sessions"}
	handle(a, g, optional, listOperation[apiv1.SessionsResult](g, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/sessions", Tags: tag,
		Summary: "List active sessions",
		Description: "With credentials of a tenant that is no administrator, only its own. " +
			"Without credentials, data is empty and limits are the default ones.",
	}), a.listSessions)
	handle(a, g, tenants, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/sessions/{id}", Tags: tag,
		Summary: "Get a session",
		Errors:  []int{http.StatusNotFound},
	}, a.getSession)
	handle(a, g, tenants, huma.Operation{
		OperationID: "request-session", Method: http.MethodPost, Path: "/sessions", Tags: tag,
		Summary:       "Request a session",
		Description:   "Hands out all the nodes asked for, or none.",
		DefaultStatus: http.StatusCreated,
	}, a.requestSession)
	handle(a, g, tenants, huma.Operation{
		OperationID: "update-session", Method: http.MethodPut, Path: "/sessions/{id}", Tags: tag,
		Summary: "Retire a session, or change when it expires", MaxBodyBytes: sessionChangeMax,
		Errors: []int{http.StatusNotFound},
	}, a.updateSession)
}

func (a *api) listSessions(ctx context.Context, q *listQuery) (*listOutput, error) {
	by := caller(ctx)
	return a.list(ctx, q, "sessions", func(ctx context.Context, after int64, most int) ([]item, error) {
		sessions, err := a.Sessions.Page(ctx, by, after, most)
		items := make([]item, len(sessions))
		for i, s := range sessions {
			items[i] = item{s.ID, a.session(ctx, s)}
		}
		return items, err
	})
}

type byID struct {
	ID int64 `path:"id"`
}

func (a *api) getSession(ctx context.Context, in *byID) (*output[apiv1.SessionResult], error) {
	s, err := a.Sessions.Get(ctx, caller(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.SessionResult{Action: apiv1.ActionGet, Session: a.session(ctx, s)}), nil
}

type sessionCreate struct{ Body apiv1.SessionCreate }

func (a *api) requestSession(ctx context.Context, in *sessionCreate) (*output[apiv1.SessionResult], error) {
	r := session.Request{
		TenantID: (*int64)(in.Body.TenantID),
		Specs:    make([]session.Spec, len(in.Body.NodesSpecs)),
	}
	for i, spec := range in.Body.NodesSpecs {
		quantity := min(max(spec.Quantity, 0), session.MaxNodes+1) // an int may be of 32 bits
		r.Specs[i] = session.Spec{Quantity: int(quantity), Pool: spec.Pool}
	}
	s, err := a.Sessions.Request(ctx, caller(ctx), r)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.SessionResult{Action: apiv1.ActionPost, Session: a.session(ctx, s)}), nil
}

type sessionUpdate struct {
	ID   int64 `path:"id"`
	Body apiv1.SessionUpdate
}

func (a *api) updateSession(ctx context.Context, in *sessionUpdate) (*output[apiv1.SessionResult], error) {
	u := session.Update{Retire: in.Body.Active != nil && !bool(*in.Body.Active)}
	if in.Body.ExpiresAt != nil {
		if err := parseExpiry(string(*in.Body.ExpiresAt), &u); err != nil {
			return nil, err
		}
	}
	s, err := a.Sessions.Update(ctx, caller(ctx), in.ID, u)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.SessionResult{Action: apiv1.ActionPut, Session: a.session(ctx, s)}), nil
}

// parseExpiry reads a time or a signed duration. Like Duffy 3 it takes a number
// as seconds since 1970 (milliseconds if they would be too many).
func parseExpiry(text string, u *session.Update) error {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseFloat(text, 64); err == nil && !strings.HasPrefix(text, "+") && n < 1e15 && n > -1e15 {
		if math.Abs(n) > 2e10 {
			n /= 1000
		}
		at := time.UnixMicro(int64(n * 1e6)).UTC()
		u.ExpiresAt = &at
		return nil
	}
	if t, err := apiv1.ParseTime(text); err == nil {
		u.ExpiresAt = &t.Time
		return nil
	}
	d, err := duration.ParseSigned(text)
	if err != nil {
		return fault.Newf(fault.Invalid, "body.expires_at: expected a time such as 2026-11-22T15:43:13Z "+
			"or a signed duration such as +1h30m")
	}
	u.ExpiresIn = &d
	return nil
}

func (a *api) session(ctx context.Context, s *session.Session) apiv1.Session {
	by := caller(ctx)
	v := a.sees(ctx, by != nil && by.ID == s.TenantID)
	specs := s.Data.NodesSpecs
	if specs == nil {
		specs = []session.Spec{}
	}
	out := apiv1.Session{
		RetiredAt: timeOf(s.RetiredAt), Active: s.Active(), CreatedAt: apiv1.Time{Time: s.CreatedAt},
		ID: s.ID, ExpiresAt: timeOf(s.ExpiresAt), Tenant: a.tenant(v.tenant(s.Tenant)),
		Data: v.data(map[string]any{"nodes_specs": specs}), Nodes: make([]apiv1.SessionNode, len(s.Nodes)),
	}
	for i, n := range s.Nodes {
		out.Nodes[i] = sessionNode(s, v.node(n))
	}
	return out
}

func sessionNode(s *session.Session, n *pool.Node) apiv1.SessionNode {
	out := apiv1.SessionNode{
		ID: n.ID, Hostname: orNull(n.Hostname), IPAddr: orNull(n.IPAddr), Comment: n.Comment,
		Pool: orNull(n.Pool), Reusable: n.Reusable, Data: n.Data,
	}
	if s.Active() {
		out.State = (*string)(&n.State)
	}
	return out
}

func timeOf(t *time.Time) *apiv1.Time {
	if t == nil {
		return nil
	}
	return &apiv1.Time{Time: *t}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
