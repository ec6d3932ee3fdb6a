package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/pool"
)

const nodeData = `{"provision": {"public_hostname": "n.example.net"}, "password": "of the rack", "ssh": {"user": "root", "port": 22},
	"error": {"failed_at": "2026-11-22T15:43:13Z", "detail": "words of the node"}}`

// TestVisibility has every caller use every operation, and looks at every field of
// the answers. An operation or a field that the tables do not know fails it.
func TestVisibility(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]httpapi.AnonymousRead{
		"limited": httpapi.ReadLimited, "full": httpapi.ReadFull, "none": httpapi.ReadNone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t, mode)
			for op := range v.operations(t) {
				require.NotEmpty(t, sights[op], "%s is new: say who sees what of its answer", op)
			}
			require.Len(t, v.operations(t), len(sights), "some operations are gone")
			for op, list := range sights {
				for _, s := range list {
					for i, as := range []login{nobody, v.bob, v.alice, v.admin} {
						v.look(t, op, s, as, v.expected(op, s.callers[i], as))
					}
				}
			}
			v.afterwards(t)
		})
	}
}

// A visit is a stage on which alice has sessions, of which one is retired.
type visit struct {
	*stage
	mode httpapi.AnonymousRead
	ids  *strings.Replacer
	node float64
}

func newVisit(t *testing.T, mode httpapi.AnonymousRead) *visit {
	t.Helper()
	v := &visit{stage: newStage(t, func(cfg *httpapi.Config) { cfg.AnonymousRead = mode }), mode: mode}
	for i := range 7 { // on top of 3
		ip := fmt.Sprint("192.0.2.1", i)
		_, err := v.db.NewInsert().Model(&pool.Node{State: pool.Ready, Pool: "a", Hostname: ip, IPAddr: ip}).Exec(t.Context())
		require.NoError(t, err)
	}
	_, err := v.db.ExecContext(t.Context(), "UPDATE nodes SET comment = 'in rack 5', reusable = true, data = ?", nodeData)
	require.NoError(t, err)
	_, err = v.db.ExecContext(t.Context(), "UPDATE tenants SET node_quota = 7, session_lifetime = '01:00:00', session_lifetime_max = '02:00:00' WHERE name = 'alice'")
	require.NoError(t, err)
	session, retired := v.request(t), v.request(t)
	v.node = session["nodes"].([]any)[0].(map[string]any)["id"].(float64)
	require.Equal(t, 200, v.do(t, v.alice, "PUT", fmt.Sprint("/api/v1/sessions/", retired["id"]), `{"active": false}`).status)
	alice := session["tenant"].(map[string]any)["id"]
	v.ids = strings.NewReplacer("{session}", fmt.Sprint(session["id"]), "{retired}", fmt.Sprint(retired["id"]),
		"{node}", fmt.Sprint(v.node), "{alice}", fmt.Sprint(alice))
	v.requireAll(t, session)
	return v
}

// requireAll requires that an administrator, by whom all others are measured, sees
// everything.
func (v *visit) requireAll(t *testing.T, session map[string]any) {
	t.Helper()
	seen := v.reference(t, "session", session)
	require.Contains(t, seen["data"], "nodes_specs")
	for field, want := range map[string]any{
		"node_quota": 7.0, "effective_node_quota": 7.0, "session_lifetime": 3600.0, "effective_session_lifetime": 3600.0,
		"session_lifetime_max": 7200.0, "effective_session_lifetime_max": 7200.0,
	} {
		require.Equal(t, want, seen["tenant"].(map[string]any)[field], field)
	}
	held := seen["nodes"].([]any)[0].(map[string]any)
	for _, node := range []map[string]any{held, v.reference(t, "node", held)} {
		require.Equal(t, "in rack 5", node["comment"])
		require.Equal(t, true, node["reusable"])
		for _, key := range []string{"provision", "nodes_spec", "ssh", "password", "error"} {
			require.NotEmpty(t, node["data"].(map[string]any)[key], key)
		}
	}
}

func (v *visit) request(t *testing.T) map[string]any {
	t.Helper()
	a := v.do(t, v.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	require.Equal(t, 201, a.status, a.text)
	return a.body["session"].(map[string]any)
}

// expected adapts what the table says to how much anybody may read.
func (v *visit) expected(op, want string, as login) string {
	_, readable := open[op]
	switch {
	case v.mode == httpapi.ReadNone && as == nobody && readable:
		return "401"
	case v.mode == httpapi.ReadFull && (want == limited || want == own):
		return full
	}
	return want
}

// look calls an operation and compares what comes back with what an administrator
// sees of the same object.
func (v *visit) look(t *testing.T, op string, s sight, as login, want string) {
	t.Helper()
	method, _, _ := strings.Cut(op, " ")
	a := v.do(t, as, method, v.ids.Replace(s.path), v.ids.Replace(s.body))
	where := fmt.Sprintf("%s as %q", op, as.name)
	if want == "401" || want == "403" {
		require.Equal(t, want, fmt.Sprint(a.status), "%s: %s", where, a.text)
		require.NotContains(t, a.text, "192.0.2.", where)
		return
	}
	require.Contains(t, []int{200, 201}, a.status, "%s: %s", where, a.text)
	object := v.find(a, s.kind)
	if want == absent {
		require.Nil(t, object, where)
		return
	}
	require.NotNil(t, object, "%s: %s", where, a.text)
	requireShown(t, s.kind, want, object, v.reference(t, s.kind, object), where)
}

// find returns the object of an answer, which is alice's if it is a list.
func (v *visit) find(a answer, kind string) map[string]any {
	if object, ok := a.body[kind].(map[string]any); ok {
		return object
	}
	for _, item := range a.body[kind+"s"].([]any) {
		object := item.(map[string]any)
		tenant, _ := object["tenant"].(map[string]any)
		if object["name"] == "alice" || object["name"] == "a" || tenant["name"] == "alice" || kind == "node" && object["id"] == v.node {
			return object
		}
	}
	return nil
}

// reference returns an object as an administrator sees it alone.
func (v *visit) reference(t *testing.T, kind string, object map[string]any) map[string]any {
	t.Helper()
	id := object["id"]
	if kind == "pool" {
		id = object["name"]
	}
	a := v.do(t, v.admin, "GET", fmt.Sprintf("/api/v1/%ss/%v", kind, id), "")
	require.Equal(t, http.StatusOK, a.status, a.text)
	return a.body[kind].(map[string]any)
}

func requireShown(t *testing.T, kind, view string, object, reference map[string]any, where string) {
	t.Helper()
	for field := range object {
		require.Contains(t, shown[kind], field, "%s: the field is new in a %s: say who sees it", where, kind)
	}
	for field, rule := range shown[kind] {
		want := map[string]string{limited: rule.limited, own: rule.own, full: rule.full, complete: same}[view]
		if view == complete && (rule.limited == secret || rule.limited == missing || shown[rule.limited] != nil) {
			want = rule.limited
		}
		where := fmt.Sprintf("%s: %s of a %s", where, field, kind)
		value, there := object[field]
		if !there && (want == missing || field == "levels") { // which only one pool has
			continue
		}
		require.True(t, there, "%s: clients need every key", where)
		requireField(t, view, want, value, reference[field], where)
	}
}

func requireField(t *testing.T, view, want string, value, reference any, where string) {
	t.Helper()
	switch {
	case want == same:
		require.Equal(t, reference, value, where)
	case want == secret:
		require.Contains(t, []any{"**********", "k"}, value, where) // k is new
	case want == missing:
		require.NotEmpty(t, value, where)
	case want == "tenant":
		requireShown(t, want, view, value.(map[string]any), reference.(map[string]any), where)
	case want == "session node":
		for i, node := range value.([]any) {
			requireShown(t, want, view, node.(map[string]any), reference.([]any)[i].(map[string]any), where)
		}
	case strings.Contains(want, ","): // keys
		chosen := map[string]any{}
		for key := range strings.SplitSeq(want, ", ") {
			chosen[key] = reference.(map[string]any)[key]
		}
		require.Equal(t, chosen, value, where)
		require.Contains(t, reference, "error", where)
		require.Contains(t, reference, "password", where)
	default:
		text, err := json.Marshal(value)
		require.NoError(t, err)
		require.Equal(t, want, string(text), where)
	}
}

// afterwards looks at nodes that alice has had, and at who is an administrator.
func (v *visit) afterwards(t *testing.T) {
	t.Helper()
	require.Equal(t, 200, v.do(t, v.alice, "PUT", v.ids.Replace("/api/v1/sessions/{session}"), `{"active": false}`).status)
	want := v.expected("", limited, v.alice)
	a := v.do(t, v.alice, "GET", v.ids.Replace("/api/v1/nodes/{node}"), "")
	requireShown(t, "node", want, v.find(a, "node"), v.reference(t, "node", v.find(a, "node")), "a node that alice had")

	a = v.do(t, v.admin, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	require.Equal(t, 201, a.status, a.text)
	if v.mode != httpapi.ReadNone {
		list := v.do(t, nobody, "GET", "/api/v1/sessions", "")
		require.Equal(t, v.mode == httpapi.ReadFull, strings.Contains(list.text, `"is_admin":true`), list.text)
		require.NotContains(t, list.text, "words of the node")
	}
}

// TestWrongCredentialsAreTold has a caller with credentials that are wrong
// told, where credentials make a difference.
func TestWrongCredentialsAreTold(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for path, want := range map[string]int{"/api/v1/nodes": 401, "/api/v1/sessions": 401, "/api/v1/pools": 200, "/api/v1/pools/a": 200} {
		require.Equal(t, want, s.do(t, login{"alice", "wrong"}, "GET", path, "").status, path)
	}
}
