package httpapi_test

// What a field shows, beside values that stand for themselves.
const (
	same    = "what an administrator sees"
	secret  = "masked, or new"
	missing = "nothing, or a new key"
)

// shown says for each field of each kind of object what an answer shows of it in
// limited view, to its own tenant, and to everybody with app.anonymous-read: full.
// Administrators see everything.
var shown = map[string]map[string]struct{ limited, own, full string }{
	"node": {
		"id": {same, same, same}, "hostname": {same, same, same}, "ipaddr": {same, same, same},
		"pool": {same, same, same}, "state": {same, same, same}, "reusable": {same, same, same},
		"active": {same, same, same}, "created_at": {same, same, same}, "retired_at": {same, same, same},
		"comment": {"null", same, same},
		"data":    {"{}", "nodes_spec, provision, ssh", "nodes_spec, password, provision, ssh"},
	},
	"session node": {
		"id": {same, same, same}, "hostname": {same, same, same}, "ipaddr": {same, same, same},
		"pool": {same, same, same}, "state": {same, same, same}, "reusable": {same, same, same},
		"comment": {"null", same, same},
		"data":    {"{}", "nodes_spec, provision, ssh", "nodes_spec, password, provision, ssh"},
	},
	"session": {
		"id": {same, same, same}, "active": {same, same, same},
		"created_at": {same, same, same}, "retired_at": {same, same, same}, "expires_at": {same, same, same},
		"data": {"{}", same, same}, "tenant": {"tenant", "tenant", "tenant"}, "nodes": {"session node", "session node", "session node"},
	},
	"tenant": {
		"id": {same, same, same}, "name": {same, same, same},
		"active": {same, same, same}, "created_at": {same, same, same}, "retired_at": {same, same, same},
		"is_admin":   {"false", same, same},
		"node_quota": {"null", same, same}, "effective_node_quota": {"10", same, same},
		"session_lifetime": {"null", same, same}, "effective_session_lifetime": {"21600", same, same},
		"session_lifetime_max": {"null", same, same}, "effective_session_lifetime_max": {"43200", same, same},
		"ssh_key": {secret, secret, secret}, "api_key": {missing, missing, missing},
	},
	"pool": {
		"name": {same, same, same}, "fill-level": {same, same, same}, "levels": {same, same, same},
	},
}

// What answers to operations are, beside views and statuses.
const (
	limited  = "limited"
	own      = "own"
	full     = "full"
	complete = "complete"
	absent   = "absent" // from the list
)

// A sight is an operation on an object of alice's, and what each caller sees of it.
type sight struct {
	kind, path, body string
	// A stranger, another tenant, alice, an administrator.
	callers [4]string
}

// sights are all operations. {session}, {node} and {alice} are ids.
var sights = map[string][]sight{
	"GET /api/v1/nodes":        {{"node", "/api/v1/nodes", "", [4]string{limited, limited, own, complete}}},
	"GET /api/v1/nodes/{id}":   {{"node", "/api/v1/nodes/{node}", "", [4]string{"401", limited, own, complete}}},
	"GET /api/v1/sessions":     {{"session", "/api/v1/sessions", "", [4]string{limited, absent, own, complete}}},
	"GET /api/v1/tenants":      {{"tenant", "/api/v1/tenants", "", [4]string{"401", absent, own, complete}}},
	"GET /api/v1/tenants/{id}": {{"tenant", "/api/v1/tenants/{alice}", "", [4]string{"401", "403", own, complete}}},
	"GET /api/v1/sessions/{id}": {
		{"session", "/api/v1/sessions/{session}", "", [4]string{"401", "403", own, complete}},
		{"session", "/api/v1/sessions/{retired}", "", [4]string{"401", "403", own, complete}},
	},
	"PUT /api/v1/sessions/{id}": {
		{"session", "/api/v1/sessions/{session}", `{"expires_at": "-1s"}`, [4]string{"401", "403", own, complete}},
	},
	"POST /api/v1/sessions": {{
		"session", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}], "tenant_id": {alice}}`,
		[4]string{"401", "403", own, complete},
	}},
	"PUT /api/v1/tenants/{id}": {{"tenant", "/api/v1/tenants/{alice}", `{"node_quota": 8}`, [4]string{"401", "403", "403", complete}}},
	"POST /api/v1/tenants": {{
		"tenant", "/api/v1/tenants", `{"name": "eve", "ssh_key": "k", "node_quota": 5}`, [4]string{"401", "403", "403", complete},
	}},
	"POST /api/v1/nodes": {{
		"node", "/api/v1/nodes", `{"hostname": "x", "ipaddr": "192.0.2.9", "data": {"password": "x"}}`, [4]string{"401", "403", "403", complete},
	}},
	"GET /api/v1/pools":        {{"pool", "/api/v1/pools", "", [4]string{complete, complete, complete, complete}}},
	"GET /api/v1/pools/{name}": {{"pool", "/api/v1/pools/a", "", [4]string{complete, complete, complete, complete}}},
}
