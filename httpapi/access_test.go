package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi"
	"github.com/duffy-ci/duffy/tenant"
)

// operations returns the operations that the API says it has, and whether they
// ask for credentials.
func (s *stage) operations(t *testing.T) map[string]string {
	t.Helper()
	doc := s.do(t, nobody, http.MethodGet, "/openapi.json", "")
	require.Equal(t, http.StatusOK, doc.status)
	require.Regexp(t, `^3\.1`, doc.body["openapi"])
	ops := map[string]string{}
	for path, methods := range doc.body["paths"].(map[string]any) {
		for method, op := range methods.(map[string]any) {
			security, _ := op.(map[string]any)["security"].([]any)
			kind := "open"
			if len(security) > 0 {
				kind = "secured"
			}
			if len(security) > 1 {
				kind = "optional"
			}
			ops[strings.ToUpper(method)+" "+path] = kind
		}
	}
	return ops
}

// from is do for somebody at another address.
func (s *stage) from(t *testing.T, address string, as login, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("X-Forwarded-For", address)
	if as.name != "" {
		req.SetBasicAuth(as.name, as.key)
	}
	return s.send(t, req)
}

// open are the operations that anybody may use, and those that show less to some.
var open = map[string]string{
	"GET /api/v1/sessions": "optional", "GET /api/v1/pools": "open", "GET /api/v1/pools/{name}": "open", "GET /api/v1/nodes": "optional",
}

func TestEveryOperationAsksForCredentials(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]httpapi.AnonymousRead{
		"limited": httpapi.ReadLimited, "full": httpapi.ReadFull, "none": httpapi.ReadNone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(cfg *httpapi.Config) { cfg.AnonymousRead = mode })
			ops := s.operations(t)
			require.NotEmpty(t, ops)
			for i, op := range slices.Sorted(maps.Keys(ops)) {
				method, path, _ := strings.Cut(op, " ")
				path = strings.NewReplacer("{id}", "1", "{name}", "a").Replace(path)
				address := fmt.Sprint("192.0.2.", i)

				want := "secured"
				if kind, ok := open[op]; ok && mode != httpapi.ReadNone {
					want = kind
				}
				require.Equal(t, want, ops[op], op)
				a := s.do(t, nobody, method, path, "{}")
				if want == "secured" {
					requireRefused(t, a, "Not authenticated")
				} else {
					require.Equal(t, http.StatusOK, a.status, op)
				}
				if want != "open" {
					for _, wrong := range []login{{"alice", "wrong"}, {"alice", s.bob.key}, {"alice", ""}, {"nobody", s.alice.key}} {
						requireRefused(t, s.from(t, address, wrong, method, path, "{}"), "Unauthorized")
					}
				}
			}
		})
	}
}

func requireRefused(t *testing.T, a answer, detail string) {
	t.Helper()
	require.Equal(t, http.StatusUnauthorized, a.status, a.text)
	require.Equal(t, detail, a.detail())
	require.Equal(t, `Basic realm="duffy"`, a.header.Get("WWW-Authenticate"))
}

// TestNobodySeesOrTouchesOthers tries all operations of bob's on what is alice's.
// One that it does not know fails it.
func TestNobodySeesOrTouchesOthers(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	created := s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	require.Equal(t, 201, created.status, created.text)
	session := fmt.Sprintf("/api/v1/sessions/%v", created.body["session"].(map[string]any)["id"])
	alice := s.do(t, s.alice, "GET", "/api/v1/tenants", "").body["tenants"].([]any)[0].(map[string]any)
	aliceTenant := fmt.Sprintf("/api/v1/tenants/%v", alice["id"])
	state := func() []string {
		var texts []string
		for _, path := range []string{session, "/api/v1/sessions", aliceTenant, "/api/v1/tenants", "/api/v1/nodes"} {
			texts = append(texts, s.do(t, s.admin, "GET", path, "").text)
		}
		return texts
	}
	before := state()

	type attempt struct {
		path, body string
		status     int
		without    string // what the answer must not have
	}
	missing := "/api/v1/tenants/99"
	attempts := map[string][]attempt{
		"GET /api/v1/sessions":      {{"/api/v1/sessions", "", 200, `"id"`}},
		"GET /api/v1/sessions/{id}": {{session, "", 403, "nodes"}},
		"PUT /api/v1/sessions/{id}": {
			{session, `{}`, 403, ""},
			{session, `{"active": false}`, 403, ""},
			{session, `{"expires_at": "+1h"}`, 403, ""},
			{session, `{"active": false, "expires_at": "-1h"}`, 403, ""},
		},
		"POST /api/v1/sessions": {
			{"/api/v1/sessions", fmt.Sprintf(`{"nodes_specs": [{"pool": "a", "quantity": 1}], "tenant_id": %v}`, alice["id"]), 403, ""},
			{"/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}], "tenant_id": 99}`, 403, ""},
		},
		"GET /api/v1/tenants":      {{"/api/v1/tenants", "", 200, `"alice"`}},
		"GET /api/v1/tenants/{id}": {{aliceTenant, "", 403, "created_at"}, {missing, "", 403, ""}},
		"PUT /api/v1/tenants/{id}": {
			{aliceTenant, `{}`, 403, ""},
			{aliceTenant, `{"active": false}`, 403, ""},
			{aliceTenant, `{"node_quota": 1}`, 403, ""},
			{aliceTenant, `{"api_key": "reset"}`, 403, ""},
			{aliceTenant, `{"ssh_key": "mine"}`, 403, ""},
			{missing, `{}`, 403, ""},
			{missing, `{"active": false}`, 403, ""},
			{missing, `{"ssh_key": "mine"}`, 403, ""},
		},
		"POST /api/v1/tenants": {{"/api/v1/tenants", `{"name": "eve", "ssh_key": "k", "is_admin": true}`, 403, ""}},
		"POST /api/v1/nodes":   {{"/api/v1/nodes", `{"hostname": "x", "ipaddr": "192.0.2.9"}`, 403, ""}},

		// What is kept ready is for all to see, and who has it is not in there.
		"GET /api/v1/nodes":        {{"/api/v1/nodes", "", 200, "alice"}},
		"GET /api/v1/nodes/{id}":   {{"/api/v1/nodes/1", "", 200, "alice"}},
		"GET /api/v1/pools":        {{"/api/v1/pools", "", 200, "alice"}},
		"GET /api/v1/pools/{name}": {{"/api/v1/pools/a", "", 200, "alice"}},
	}
	for op := range s.operations(t) {
		require.NotEmpty(t, attempts[op], "%s is new: say what bob must not be able to do with what is alice's", op)
		method, _, _ := strings.Cut(op, " ")
		for _, try := range attempts[op] {
			a := s.do(t, s.bob, method, try.path, try.body)
			require.Equal(t, try.status, a.status, "%s %s: %s", op, try.body, a.text)
			require.NotContains(t, a.text, "key of alice", op)
			if try.without != "" {
				require.NotContains(t, a.text, try.without, op)
			}
		}
		delete(attempts, op)
	}
	require.Empty(t, attempts, "these operations are gone")
	require.Equal(t, before, state())
}

// TestTenantsAreNotCounted compares the answers that bob gets about alice's id with
// those about ids of no tenant.
func TestTenantsAreNotCounted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	alice := s.do(t, s.alice, "GET", "/api/v1/tenants", "").body["tenants"].([]any)[0].(map[string]any)
	tried := 0
	for op := range s.operations(t) {
		method, path, _ := strings.Cut(op, " ")
		var bodies []string
		switch op {
		case "POST /api/v1/sessions":
			bodies = []string{`{"nodes_specs": [], "tenant_id": ID}`, `{"nodes_specs": [{"pool": "a", "quantity": 99}], "tenant_id": ID}`, `{"tenant_id": ID}`}
		case "PUT /api/v1/tenants/{id}":
			bodies = []string{``, `{}`, `{"active": true}`, `{"active": false}`, `{"active": "x"}`, `{"node_quota": -1}`, `{"ssh_key": "k"}`, `{"api_key": "reset"}`, `{"api_key": "x"}`}
		case "GET /api/v1/tenants/{id}":
			bodies = []string{``}
		default:
			require.False(t, strings.Contains(path, "tenants/{"), "%s is new: say what to try", op)
			continue
		}
		for _, body := range bodies {
			var answers []string
			for _, id := range []string{fmt.Sprint(alice["id"]), "99", "9223372036854775807", "0", "-1"} {
				a := s.do(t, s.bob, method, strings.ReplaceAll(path, "{id}", id), strings.ReplaceAll(body, "ID", id))
				answers = append(answers, fmt.Sprint(a.status, a.text))
				require.GreaterOrEqual(t, a.status, 400)
			}
			require.Len(t, slices.Compact(answers), 1, "%s %s", op, body)
			tried++
		}
	}
	require.Equal(t, 13, tried)
	require.Equal(t, 404, s.do(t, s.admin, "GET", "/api/v1/tenants/99", "").status, "administrators are told")
	require.Equal(t, 404, s.do(t, s.admin, "PUT", "/api/v1/tenants/99", `{"active": false}`).status)
}

// TestReadOnlyKeys has an administrator try all operations by a key that is
// read-only: what reads works, all else does not, whatever is sent.
func TestReadOnlyKeys(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	created := s.do(t, s.admin, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`)
	require.Equal(t, 201, created.status, created.text)
	admin, err := s.tenants.GetByName(t.Context(), "admin")
	require.NoError(t, err)
	_, key, err := s.tenants.CreateKey(t.Context(), admin.ID, tenant.NewKey{Scope: tenant.ReadOnly})
	require.NoError(t, err)
	reader := login{"admin", key.String()}

	at := func(path string) string { return strings.NewReplacer("{id}", "1", "{name}", "a").Replace(path) }
	ops := slices.Sorted(maps.Keys(s.operations(t)))
	state := func(as login) (texts []string) {
		for _, op := range ops {
			if method, path, _ := strings.Cut(op, " "); method == http.MethodGet {
				a := s.do(t, as, method, at(path), "")
				require.Equal(t, http.StatusOK, a.status, op)
				texts = append(texts, a.text)
			}
		}
		return texts
	}
	before := state(s.admin)
	refused := 0
	for _, op := range ops {
		method, path, _ := strings.Cut(op, " ")
		if method == http.MethodGet {
			continue
		}
		for _, body := range []string{
			"", "{", "{}", `{"active": false}`, `{"expires_at": "+1h"}`, `{"nodes_specs": []}`, `{"name": "x", "ssh_key": "k"}`,
			`{"ssh_key": "k", "api_key": "reset"}`, `{"hostname": "x", "ipaddr": "192.0.2.9"}`,
		} {
			a := s.do(t, reader, method, at(path), body)
			require.Equal(t, http.StatusForbidden, a.status, "%s: %s", op, a.text)
			require.Equal(t, "Forbidden: the API key is read-only", a.detail())
			require.Equal(t, "Forbidden", a.body["title"])
			refused++
		}
	}
	require.NotZero(t, refused)
	require.Equal(t, before, state(reader), "it reads what its tenant may read")
	require.Equal(t, before, state(s.admin), "nothing changed")

	_, err = s.tenants.RetireKey(t.Context(), admin.ID, tenant.DefaultKeyName)
	require.NoError(t, err)
	requireRefused(t, s.do(t, reader, "GET", "/api/v1/tenants", ""), "Unauthorized")
}

// TestAdministratorsAreAskedEachTime has one become an ordinary tenant.
func TestAdministratorsAreAskedEachTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	admin, err := s.tenants.GetByName(t.Context(), "admin")
	require.NoError(t, err)
	for _, is := range []bool{false, true, false} {
		_, _, err := s.tenants.Update(t.Context(), admin.ID, tenant.Update{IsAdmin: &is})
		require.NoError(t, err)
		status := map[bool]int{true: 404, false: 403}[is]
		require.Equal(t, status, s.do(t, s.admin, "PUT", "/api/v1/tenants/99", `{"active": false}`).status)
		require.Equal(t, status, s.do(t, s.admin, "GET", "/api/v1/tenants/99", "").status)
	}
}
