package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
)

// TestEncodings has text come in that a database may have no characters for. Whatever
// becomes of it, it is no fault of the server.
func TestEncodings(t *testing.T) {
	t.Parallel()
	const beyond = "\u65e5\u672c"
	dbtest.EachEncoding(t, func(t *testing.T, d *db.DB) {
		s := newStageOn(t, d)
		var encoding string
		if d.Postgres() {
			require.NoError(t, d.NewRaw("SELECT getdatabaseencoding()").Scan(t.Context(), &encoding))
		}
		created := http.StatusCreated
		if encoding == "LATIN1" {
			created = http.StatusUnprocessableEntity
		}
		for _, tt := range []struct {
			as           login
			method, path string
			body         string
			status       int
		}{
			{login{beyond, "x"}, "GET", "/api/v1/tenants", "", http.StatusUnauthorized},
			{login{"caf\u00e9", "x"}, "GET", "/api/v1/tenants", "", http.StatusUnauthorized},
			{s.admin, "POST", "/api/v1/tenants", `{"name": "` + beyond + `", "ssh_key": "k"}`, created},
			{s.admin, "POST", "/api/v1/tenants", `{"name": "caf\u00e9", "ssh_key": "k"}`, http.StatusCreated},
			{s.admin, "POST", "/api/v1/nodes", `{"hostname": "x", "ipaddr": "192.0.2.9", "comment": "` + beyond + `"}`, created},
			{s.admin, "POST", "/api/v1/nodes", `{"hostname": "y", "ipaddr": "192.0.2.8", "data": {"` + beyond + `": "` + beyond + `"}}`, http.StatusCreated},
			{s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "` + beyond + `", "quantity": 1}]}`, http.StatusUnprocessableEntity},
			{s.alice, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 1}]}`, http.StatusCreated},
		} {
			a := s.do(t, tt.as, tt.method, tt.path, tt.body)
			require.Equal(t, tt.status, a.status, "%s %s %s: %s", tt.method, tt.path, tt.body, a.text)
		}
		if encoding == "SQL_ASCII" { // which takes any bytes, and Duffy 3 stored what it was given
			for _, query := range []string{
				`UPDATE nodes SET hostname = 'caf' || convert_from('\xe9', 'SQL_ASCII'), comment = convert_from('\xe9ff', 'SQL_ASCII') WHERE ipaddr = '192.0.2.1'`,
				`UPDATE tenants SET ssh_key = convert_from('\xe9', 'SQL_ASCII') WHERE name = 'bob'`,
			} {
				_, err := d.ExecContext(t.Context(), query)
				require.NoError(t, err)
			}
		}
		for _, path := range []string{"/api/v1/nodes", "/api/v1/sessions", "/api/v1/tenants"} {
			a := s.do(t, s.admin, "GET", path, "")
			require.Equal(t, http.StatusOK, a.status, "%s: %s", path, a.text)
		}
		a := s.do(t, s.bob, "POST", "/api/v1/sessions", `{"nodes_specs": [{"pool": "a", "quantity": 2}]}`)
		require.Equal(t, http.StatusCreated, a.status, a.text)
	})
}
