package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// A hostile value is what a field of a request may be sent. As text it stands for itself
// in a parameter; in a body it is JSON.
type hostile struct {
	text, json string
	refused    bool // everywhere: no database can store it, or not as it was
}

// texts are those that databases, terminals and parsers stumble over.
func texts() []hostile {
	long := make([]byte, 20_000) // which no index of PostgreSQL can hold, as it cannot be compressed
	random := rand.New(rand.NewPCG(1, 2))
	for i := range long {
		long[i] = byte('!' + random.IntN(90))
	}
	list := []hostile{
		{"\x00", `"\u0000"`, true},
		{"a\x00b", `"a\u0000b"`, true},
		{"\xff", "\"\xff\"", true},
		{"a\xc3", "\"a\xc3\"", true},
		{"\xc0\x80", "\"\xc0\x80\"", true},                 // an overlong U+0000
		{"\xed\xa0\x80", "\"\xed\xa0\x80\"", true},         // half of a character of UTF-16
		{"\xf4\x90\x80\x80", "\"\xf4\x90\x80\x80\"", true}, // beyond Unicode
	}
	for _, half := range []string{`\ud800`, `\uDFFF`, `\udc00\ud800`, `\ud83d\ud83d\ude00`, `a\uD83Db`, `\ud83d\\ude00`} {
		list = append(list, hostile{json: `"` + half + `"`, refused: true})
	}
	for _, text := range []string{
		"", " ", "null", "true", "a", "\r\n", "\x1b[2J", "\u202e", "\u2028", "\ufeff", "\uffff", "\u0085", "\U0001F600", "e\u0301", "日本語",
		`'; DROP TABLE nodes; --`, `{{ 7 * 7 }}`, `\u0000`, `%00`, `../../etc/passwd`, `<script>`, strings.Repeat("a", 20_000), string(long),
		strings.Repeat("\U0001F600", 5_000),
	} {
		quoted, _ := json.Marshal(text)
		list = append(list, hostile{text: text, json: string(quoted)})
	}
	return list
}

// values are those, numbers at which types end, and what is neither.
func values() []hostile {
	list := texts()
	for _, n := range append(slices.Clone(numbers),
		"2147483646", "-2147483649", "4611686018427387904", "1e400", "-1e400", "1e-400", "-0", "0.1", "1e1000000000", "253402300800", "99999999999999") {
		list = append(list, hostile{text: n, json: n}, hostile{json: `"` + n + `"`})
	}
	for _, v := range []string{
		"null", "true", "[]", "{}", "[null]", `{"a": null}`, "NaN", "-Infinity", "\x00", `"`, "[[1], [2]]", `{"a": 1, "a": 2}`, `{"": ""}`,
		strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000), strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000),
		`["` + strings.Repeat(`a","`, 5_000) + `"]`, strings.Repeat("[", 20_000),
	} {
		list = append(list, hostile{json: v})
	}
	return list
}

// A description is what the API says of itself.
type description struct {
	*testing.T
	doc map[string]any
}

func (s *stage) describe(t *testing.T) description {
	t.Helper()
	return description{t, s.do(t, nobody, "GET", "/openapi.json", "").body}
}

// schema returns what a schema refers to, and the first of its alternatives.
func (d description) schema(v any) map[string]any {
	s, ok := v.(map[string]any)
	require.True(d, ok, "%v is no schema", v)
	if ref, ok := s["$ref"].(string); ok {
		return d.schema(d.doc["components"].(map[string]any)["schemas"].(map[string]any)[strings.TrimPrefix(ref, "#/components/schemas/")])
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if alternatives, ok := s[key].([]any); ok {
			return d.schema(alternatives[0])
		}
	}
	return s
}

// An operation is one of the API's, with a request that it grants.
type operation struct {
	name, method, path string // as the API describes it
	params             []map[string]any
	body               any            // its schema, nil for none
	answers            map[string]any // by their status
}

func (d description) operations() (ops []operation) {
	for path, methods := range d.doc["paths"].(map[string]any) {
		for method, described := range methods.(map[string]any) {
			op := operation{name: strings.ToUpper(method) + " " + path, method: strings.ToUpper(method), path: path}
			described := described.(map[string]any)
			op.answers = described["responses"].(map[string]any)
			for _, p := range asList(described["parameters"]) {
				op.params = append(op.params, p.(map[string]any))
			}
			if body, ok := described["requestBody"].(map[string]any); ok {
				op.body = body["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
			}
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b operation) int { return strings.Compare(a.name, b.name) })
	return ops
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// A place is where in a body a value is: keys and indexes. The last one is of a field,
// or the name of a new one.
type place []any

func (p place) String() string { return fmt.Sprint([]any(p)...) }

// places returns the places of all values in a body of this schema.
func (d description) places(schema any, at place) (all []place) {
	all = append(all, at)
	s := d.schema(schema)
	below := func(key any) place { return append(slices.Clone(at), key) }
	properties, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		all = append(all, d.places(properties[name], below(name))...)
	}
	if items, ok := s["items"]; ok {
		all = append(all, d.places(items, below(0))...)
	}
	if _, closed := s["properties"]; !closed && hasType(s, "object") {
		all = append(all, below("anything"))
	}
	return all
}

func hasType(s map[string]any, name string) bool {
	return s["type"] == name || slices.Contains(asList(s["type"]), any(name))
}

// with returns the value with another one in a place of it.
func (p place) with(v, replacement any) any {
	if len(p) == 0 {
		return replacement
	}
	switch key := p[0].(type) {
	case string:
		m := map[string]any{}
		if old, ok := v.(map[string]any); ok {
			m = maps.Clone(old)
		}
		m[key] = p[1:].with(m[key], replacement)
		return m
	default:
		return []any{p[1:].with(asList(v)[0], replacement)}
	}
}

// A prober sends requests that are granted but for one value.
type prober struct {
	*stage
	description
	count           int
	session, victim string // ids
}

func newProber(t *testing.T, d *db.DB) *prober {
	s := newStageOn(t, d)
	p := &prober{stage: s, description: s.describe(t)}
	id := func(a answer, what string) string {
		require.Equal(t, 201, a.status, a.text)
		return fmt.Sprint(a.body[what].(map[string]any)["id"])
	}
	p.session = id(s.do(t, s.admin, "POST", "/api/v1/sessions", `{"nodes_specs": []}`), "session")
	p.victim = id(s.do(t, s.admin, "POST", "/api/v1/tenants", `{"name": "victim", "ssh_key": "k"}`), "tenant")
	return p
}

// sample returns the body of a request that the API grants. A field that is new needs
// a value here, or may be left out.
func (p *prober) sample(op operation) any {
	p.count++
	return map[string]any{
		"POST /api/v1/sessions": map[string]any{"nodes_specs": []any{map[string]any{"pool": "a", "quantity": 1}}},
		"PUT /api/v1/sessions/{id}": map[string]any{
			"active": true, "expires_at": "2026-11-22T15:43:13Z",
		},
		"POST /api/v1/nodes": map[string]any{
			"hostname": fmt.Sprintf("host-%d", p.count), "ipaddr": fmt.Sprintf("2001:db8::%x", p.count), "data": map[string]any{},
		},
		"POST /api/v1/tenants":     map[string]any{"name": fmt.Sprintf("tenant-%d", p.count), "ssh_key": "k"},
		"PUT /api/v1/tenants/{id}": map[string]any{"ssh_key": "k", "node_quota": 10},
	}[op.name]
}

// param returns the value of a parameter that the API grants.
func (p *prober) param(op operation, name string) string {
	return map[string]string{
		"/api/v1/sessions/{id} id": p.session, "/api/v1/tenants/{id} id": p.victim, "/api/v1/nodes/{id} id": "1",
		"/api/v1/pools/{name} name": "a",
	}[op.path+" "+name]
}

// send sends a request that is granted but for a parameter, unless its name is empty, and
// for the JSON of a value in the body.
func (p *prober) send(op operation, as login, param, text string, at place, value string) answer {
	target, query := op.path, url.Values{}
	header := http.Header{}
	for _, described := range op.params {
		name := described["name"].(string)
		sent := p.param(op, name)
		if name == param {
			sent = text
		}
		switch described["in"] {
		case "path":
			require.True(p, sent != "" || name == param, "%s %s is new: say which value is granted", op.name, name)
			target = strings.ReplaceAll(target, "{"+name+"}", url.PathEscape(sent))
		case "query":
			if name == param {
				query.Set(name, sent)
			}
		default:
			require.Fail(p, "a parameter that is neither in the path nor in the query", "%s %s", op.name, name)
		}
	}
	body := ""
	if op.body != nil {
		sample := p.sample(op)
		require.NotNil(p, sample, "%s is new: say which body is granted", op.name)
		const here = "@@here@@"
		if at != nil {
			sample = at.with(sample, here)
		}
		written, err := json.Marshal(sample)
		require.NoError(p, err)
		body = strings.Replace(string(written), `"`+here+`"`, value, 1)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(p.Context(), op.method, p.url+target, strings.NewReader(body))
	require.NoError(p, err)
	req.Header = header
	req.SetBasicAuth(as.name, as.key)
	a := p.stage.send(p.T, req)
	require.Contains(p, op.answers, fmt.Sprint(a.status), "%s: an answer that is not described: %s", op.name, a.text)
	return a
}

// TestEveryFieldIsChecked has an administrator send every hostile value in every field and
// parameter that the API describes. The answer is about the value, never that something
// broke, and all that was stored can be read.
func TestEveryFieldIsChecked(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		p := newProber(t, d)
		ops, all, fields := p.description.operations(), values(), 0
		for _, op := range ops {
			a := p.send(op, p.admin, "", "", nil, "")
			require.Less(t, a.status, 300, "%s: the sample is granted: %s", op.name, a.text)
			check := func(where string, v hostile, a answer) {
				require.Less(t, a.status, 500, "%s %s: %.100q: %s", op.name, where, v, a.text)
				require.NotContains(t, a.text, "database", "%s %s: %.100q", op.name, where, v)
				if v.refused {
					require.GreaterOrEqual(t, a.status, 400, "%s %s: %.100q is stored", op.name, where, v)
				}
			}
			for _, described := range op.params {
				fields++
				name := described["name"].(string)
				for _, v := range all {
					if v.text != "" {
						check(name, v, p.send(op, p.admin, name, v.text, nil, ""))
					}
				}
			}
			if op.body == nil {
				continue
			}
			for _, at := range p.places(op.body, nil) {
				fields++
				for _, v := range all {
					check(at.String(), v, p.send(op, p.admin, "", "", append(place{}, at...), v.json))
				}
			}
		}
		require.Greater(t, fields, 35)
		for _, op := range ops {
			if op.method == http.MethodGet {
				require.Equal(t, 200, p.send(op, p.admin, "", "", nil, "").status, op.name)
			}
		}
		for _, as := range []login{nobody, p.alice} {
			for _, list := range []string{"sessions", "nodes", "pools"} {
				require.Equal(t, 200, p.do(t, as, "GET", "/api/v1/"+list, "").status)
			}
		}
	})
}

// TestKeysOfData has names in data be what values must be.
func TestKeysOfData(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		for i, v := range texts() {
			a := s.do(t, s.admin, "POST", "/api/v1/nodes", fmt.Sprintf(`{"hostname": "h%d", "ipaddr": "2001:db8::%x", "data": {%s: 1}}`, i, i, v.json))
			if v.refused {
				require.Equal(t, 422, a.status, "%.100q: %s", v, a.text)
			} else {
				require.Equal(t, 201, a.status, "%.100q: %s", v, a.text)
			}
		}
		require.Equal(t, 200, s.do(t, s.admin, "GET", "/api/v1/nodes", "").status)
	})
}

// TestEveryCredentialIsChecked has strangers log in as hostile texts.
func TestEveryCredentialIsChecked(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		p := newProber(t, d)
		for _, op := range p.description.operations() {
			for i, v := range texts() {
				for _, as := range []login{{v.text, "key"}, {"alice", v.text}, {v.text, v.text}} {
					req, err := http.NewRequestWithContext(t.Context(), op.method, p.url+strings.NewReplacer("{id}", "1", "{name}", "a").Replace(op.path), strings.NewReader("{}"))
					require.NoError(t, err)
					req.SetBasicAuth(as.name, as.key)
					req.Header.Set("X-Forwarded-For", fmt.Sprintf("2001:db8:%x::1", i))
					if a := p.stage.send(t, req); open[op.name] != "open" {
						require.Contains(t, []int{401, 429}, a.status, "%s %.100q: %s", op.name, as, a.text)
					}
				}
			}
		}
	})
}
