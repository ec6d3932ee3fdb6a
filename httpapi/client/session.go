package client

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// ListSessions returns the active sessions that the tenant may see: its own, or
// all for administrators and anonymous callers.
func (c *Client) ListSessions(ctx context.Context) ([]apiv1.Session, error) {
	var result apiv1.SessionsResult
	err := c.call(ctx, http.MethodGet, "/sessions", nil, &result)
	return result.Sessions, err
}

// GetSession returns a session, active or retired.
func (c *Client) GetSession(ctx context.Context, id int64) (apiv1.Session, error) {
	var result apiv1.SessionResult
	err := c.call(ctx, http.MethodGet, sessionPath(id), nil, &result)
	return result.Session, err
}

// RequestSession returns a new session with all the nodes that are asked for,
// which the tenant can log in to. If it returns an error that is no *[Error],
// for example because ctx ended, the session may have been granted: it then
// shows up in ListSessions, and expires by itself.
func (c *Client) RequestSession(ctx context.Context, create apiv1.SessionCreate) (apiv1.Session, error) {
	var result apiv1.SessionResult
	err := c.call(ctx, http.MethodPost, "/sessions", create, &result)
	return result.Session, err
}

// UpdateSession changes a session and returns it as it is then.
func (c *Client) UpdateSession(ctx context.Context, id int64, update apiv1.SessionUpdate) (apiv1.Session, error) {
	var result apiv1.SessionResult
	err := c.call(ctx, http.MethodPut, sessionPath(id), update, &result)
	return result.Session, err
}

// RetireSession gives the nodes of a session back. A session that is retired
// already is an *[Error] with status 422.
func (c *Client) RetireSession(ctx context.Context, id int64) (apiv1.Session, error) {
	return c.UpdateSession(ctx, id, apiv1.SessionUpdate{Active: new(apiv1.Boolean(false))})
}

// ExtendSession moves the expiry of a session by the given time, to the
// millisecond; forward, or backward if negative. The server keeps it between
// the session's creation and the tenant's maximum.
func (c *Client) ExtendSession(ctx context.Context, id int64, by time.Duration) (apiv1.Session, error) {
	sign := "+"
	if by < 0 {
		sign, by = "-", -by
	}
	ms := by.Milliseconds()
	spec := apiv1.TimeSpec(fmt.Sprintf("%s%ds%dms", sign, ms/1000, ms%1000))
	return c.UpdateSession(ctx, id, apiv1.SessionUpdate{ExpiresAt: &spec})
}

func sessionPath(id int64) string { return fmt.Sprintf("/sessions/%d", id) }
