package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/session"
	"github.com/duffy-ci/duffy/tenant"
)

// crowd adds many nodes, each with some data, tenants and sessions of alice.
func crowd(t testing.TB, d *db.DB, n int, data string) {
	t.Helper()
	var alice tenant.Tenant
	require.NoError(t, d.NewSelect().Model(&alice).Where("name = 'alice'").Scan(t.Context()))
	var nodes []*pool.Node
	var tenants []*tenant.Tenant
	var sessions []*session.Session
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range n {
		name := fmt.Sprintf("crowd-%d", i)
		nodes = append(nodes, &pool.Node{State: pool.Ready, Pool: "b", Hostname: name, IPAddr: name, Data: pool.Data{"<&>": data}, CreatedAt: now})
		tenants = append(tenants, &tenant.Tenant{Name: name, SSHKey: "k", APIKeyHash: "x", CreatedAt: now})
		sessions = append(sessions, &session.Session{TenantID: alice.ID, CreatedAt: now})
	}
	for len(nodes) > 0 {
		m := min(len(nodes), 500)
		for _, rows := range []any{ptr(nodes[:m]), ptr(tenants[:m]), ptr(sessions[:m])} {
			_, err := d.NewInsert().Model(rows).Exec(t.Context())
			require.NoError(t, err)
		}
		nodes, tenants, sessions = nodes[m:], tenants[m:], sessions[m:]
	}
}

func ptr[T any](v T) *T { return &v }

// TestListsInPages has lists be the same in one piece and page by page.
func TestListsInPages(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		crowd(t, d, 220, "x")
		for _, tt := range []struct {
			as    login
			name  string
			count int
			doc   any
		}{
			{s.admin, "sessions", 220, &apiv1.SessionsResult{}},
			{s.alice, "sessions", 220, &apiv1.SessionsResult{}},
			{nobody, "sessions", 220, &apiv1.SessionsResult{}},
			{s.bob, "sessions", 0, &apiv1.SessionsResult{}},
			{nobody, "nodes", 223, &apiv1.NodesResult{}},
			{s.admin, "tenants", 223, &apiv1.TenantsResult{}},
			{s.alice, "tenants", 1, &apiv1.TenantsResult{}},
		} {
			path := "/api/v1/" + tt.name
			all := s.do(t, tt.as, "GET", path, "")
			require.Equal(t, 200, all.status, all.text)
			require.Empty(t, all.header.Get("Link"))
			require.Equal(t, "application/json", all.header.Get("Content-Type"))
			want := all.body[tt.name].([]any)
			require.Len(t, want, tt.count)

			// It is written as it was when it was written in one piece.
			require.NoError(t, json.Unmarshal([]byte(all.text), tt.doc))
			var whole bytes.Buffer
			enc := json.NewEncoder(&whole)
			enc.SetEscapeHTML(false)
			require.NoError(t, enc.Encode(tt.doc))
			require.Equal(t, whole.String(), all.text)

			for _, limit := range []int{1, 99, 100, 101, tt.count - 1, tt.count, tt.count + 1, 1000} {
				if limit < 1 || limit == 1 && tt.count > 10 {
					continue
				}
				var got []any
				at := fmt.Sprintf("%s?limit=%d", path, limit)
				for at != "" {
					page := s.do(t, tt.as, "GET", at, "")
					require.Equal(t, 200, page.status, page.text)
					items := page.body[tt.name].([]any)
					require.LessOrEqual(t, len(items), limit)
					got = append(got, items...)
					if at = next(t, s.url+at, page.header); at != "" {
						require.Len(t, items, limit)
					}
				}
				require.Equal(t, len(want), len(got), "limit %d", limit)
				if tt.count > 0 {
					require.Equal(t, want, got, "limit %d", limit)
				}
			}
			if tt.count > 0 {
				last := want[tt.count-1].(map[string]any)["id"].(float64)
				require.Empty(t, s.do(t, tt.as, "GET", fmt.Sprintf("%s?after=%.0f", path, last), "").body[tt.name])
				require.Len(t, s.do(t, tt.as, "GET", fmt.Sprintf("%s?after=%.0f", path, last-1), "").body[tt.name], 1)
			}
			for _, query := range []string{"limit=0", "limit=1001", "limit=-1", "limit=x", "after=-1", "after=x"} {
				a := s.do(t, tt.as, "GET", path+"?"+query, "")
				require.Equal(t, 422, a.status, query)
				require.Contains(t, a.detail(), "query."+strings.Split(query, "=")[0])
			}
		}
	})
}

// next returns the path that a Link header leads to, as clients read it.
func next(t *testing.T, from string, header http.Header) string {
	t.Helper()
	if header.Get("Link") == "" {
		return ""
	}
	m := regexp.MustCompile(`^<([^>]+)>; rel="next"$`).FindStringSubmatch(header.Get("Link"))
	require.NotNil(t, m, header.Get("Link"))
	base, err := url.Parse(from)
	require.NoError(t, err)
	to, err := base.Parse(m[1])
	require.NoError(t, err)
	return to.RequestURI()
}

// TestListsAreDescribed has the description of lists be what it was when they were
// in one piece.
func TestListsAreDescribed(t *testing.T) {
	t.Parallel()
	doc := newStage(t).do(t, nobody, "GET", "/openapi.json", "").body
	for path, schema := range map[string]string{"sessions": "SessionsResult", "nodes": "NodesResult", "tenants": "TenantsResult"} {
		op := doc["paths"].(map[string]any)["/api/v1/"+path].(map[string]any)["get"].(map[string]any)
		ok := op["responses"].(map[string]any)["200"].(map[string]any)
		require.Equal(t, map[string]any{"application/json": map[string]any{
			"schema": map[string]any{"$ref": "#/components/schemas/" + schema},
		}}, ok["content"])
		require.Contains(t, ok["headers"], "Link")
		require.Len(t, op["parameters"], 2)
		require.Contains(t, doc["components"].(map[string]any)["schemas"], schema)
	}
}

// open begins to read a list that does not fit into the buffers of a connection.
func (s *stage) open(t *testing.T, path string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
	require.NoError(t, err)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
		}
		return conn, err
	}}
	res, err := transport.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	require.Equal(t, 200, res.StatusCode)
	_, err = io.ReadFull(res.Body, make([]byte, 1000))
	require.NoError(t, err)
	return res.Body
}

// TestSlowReadersHoldNoConnection has clients stop reading in the middle of lists.
func TestSlowReadersHoldNoConnection(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		crowd(t, d, 2000, strings.Repeat("x", 4096))
		var open []io.ReadCloser
		for range 25 { // more than there are connections to a database
			open = append(open, s.open(t, "/api/v1/nodes"))
		}
		require.Eventually(t, func() bool { return d.Stats().InUse == 0 }, 30*time.Second, 10*time.Millisecond)
		require.Equal(t, 200, s.do(t, s.alice, "GET", "/api/v1/tenants", "").status)
		rest, err := io.ReadAll(open[0])
		require.NoError(t, err, "a client that goes on gets the rest")
		require.Equal(t, "]}\n", string(rest[len(rest)-3:]))
	})
}

// TestBrokenListsLookBroken has the database break in the middle of a list.
func TestBrokenListsLookBroken(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		crowd(t, d, 2000, strings.Repeat("x", 4096))
		list := s.open(t, "/api/v1/nodes")
		_, err := d.ExecContext(context.WithoutCancel(t.Context()), "ALTER TABLE nodes RENAME TO elsewhere")
		require.NoError(t, err)
		_, err = io.ReadAll(list)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "list broken off") }, 10*time.Second, 10*time.Millisecond)
		a := s.do(t, nobody, "GET", "/api/v1/nodes", "")
		require.Equal(t, 500, a.status, "what breaks at once is an answer")
	})
}
