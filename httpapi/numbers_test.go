package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// numbers are those at which types end, and some beyond.
var numbers = []string{
	"-1", "0", "100", "101", "10000", "10001", "2147483647", "2147483648", "4294967296", "9007199254740993",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551616", "1e15", "1e18", "1e300", "1.5",
}

// TestNumbersAreChecked has clients send every number wherever the API takes one,
// as a number and as text. Whatever the answer, it is about the number: nothing
// wraps round, and nothing breaks inside.
func TestNumbersAreChecked(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		for _, n := range numbers {
			for _, n := range []string{n, `"` + n + `"`} {
				text := strings.Trim(n, `"`)
				for _, tt := range []struct {
					as                 login
					method, path, body string
				}{
					{s.alice, "POST", "/sessions", fmt.Sprintf(`{"nodes_specs": [{"pool": "a", "quantity": %s}]}`, n)},
					{s.alice, "POST", "/sessions", fmt.Sprintf(`{"nodes_specs": [{"pool": "a", "quantity": %[1]s}, {"pool": "a", "quantity": %[1]s}]}`, n)},
					{s.admin, "POST", "/sessions", fmt.Sprintf(`{"nodes_specs": [{"pool": "a", "quantity": %[1]s}, {"pool": "a", "quantity": %[1]s}]}`, n)},
					{s.admin, "POST", "/sessions", fmt.Sprintf(`{"nodes_specs": [], "tenant_id": %s}`, n)},
					{s.alice, "POST", "/sessions", fmt.Sprintf(`{"nodes_specs": [], "tenant_id": %s}`, n)},
					{s.admin, "PUT", "/sessions/1", fmt.Sprintf(`{"expires_at": %s}`, n)},
					{s.admin, "PUT", "/sessions/1", fmt.Sprintf(`{"expires_at": "+%ss"}`, text)},
					{s.admin, "PUT", "/sessions/1", fmt.Sprintf(`{"expires_at": "+%sw"}`, text)},
					{s.admin, "PUT", "/tenants/2", fmt.Sprintf(`{"node_quota": %s}`, n)},
					{s.admin, "PUT", "/tenants/2", fmt.Sprintf(`{"session_lifetime": %[1]s, "session_lifetime_max": %[1]s}`, n)},
					{s.admin, "POST", "/tenants", fmt.Sprintf(`{"name": "t%s%d", "ssh_key": "k", "node_quota": %s}`, text, len(n), n)},
					{s.admin, "GET", "/sessions/" + text, ""},
					{s.admin, "PUT", "/sessions/" + text, `{"active": true}`},
					{s.admin, "GET", "/nodes/" + text, ""},
					{s.admin, "GET", "/tenants/" + text, ""},
					{s.admin, "PUT", "/tenants/" + text, `{"node_quota": 10}`},
					{s.admin, "GET", "/sessions?limit=" + text, ""},
					{s.admin, "GET", "/sessions?after=" + text, ""},
					{s.admin, "GET", "/nodes?limit=" + text + "&after=" + text, ""},
					{s.admin, "GET", "/tenants?limit=" + text + "&after=" + text, ""},
				} {
					a := s.do(t, tt.as, tt.method, "/api/v1"+tt.path, tt.body)
					require.Less(t, a.status, 500, "%s %s %s: %s", tt.method, tt.path, tt.body, a.text)
					if strings.HasPrefix(tt.body, `{"nodes_specs": [{`) {
						require.NotEqual(t, 201, a.status, "%s: %s", tt.body, a.text)
						require.Regexp(t, "not an integer|nodes_specs|can't reserve nodes|quota exceeded: requested nodes", a.detail())
					}
				}
			}
		}
	})
}

// TestLargeRequests has the limits of a request named, in the answer and in the
// description of the API.
func TestLargeRequests(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	one := `{"pool": "a", "quantity": 1}`
	for body, detail := range map[string]string{
		strings.Repeat(one+",", 100) + one:                              "nodes_specs: expected array length <= 100",
		strings.Repeat(`{},`, 10_000) + one:                             "nodes_specs: expected array length <= 100",
		one + `,{"pool": "a", "quantity": 10001}`:                       "nodes_specs[1].quantity: ensure this value is less than or equal to 10000",
		`{"pool": "a", "quantity": 9999}, {"pool": "b", "quantity": 2}`: "nodes_specs: ensure the quantities add up to at most 10000",
		`{"pool": "a", "quantity": "9223372036854775807"}, ` + one:      "nodes_specs[0].quantity: ensure this value is less than or equal to 10000",
	} {
		a := s.do(t, s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [`+body+`]}`)
		require.Equal(t, 422, a.status, a.text)
		require.Contains(t, a.detail(), detail)
		require.Less(t, len(a.text), 20_000, "an answer is not larger for more mistakes")
	}
	doc := s.do(t, nobody, "GET", "/openapi.json", "").text
	require.Contains(t, doc, `"maxItems":100`)
}
