package apiv1_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// exchange is a request to Duffy 3 with its answer.
type exchange struct {
	Name, Method, Path string
	Request, Response  json.RawMessage
}

func recorded(t *testing.T) []exchange {
	t.Helper()
	data, err := os.ReadFile("testdata/results.json")
	require.NoError(t, err)
	var exchanges []exchange
	require.NoError(t, json.Unmarshal(data, &exchanges))
	require.NotEmpty(t, exchanges)
	return exchanges
}

// TestResultsKeepTheirForm reads and writes what Duffy 3 answered: no key may
// get lost, appear, or change its meaning.
func TestResultsKeepTheirForm(t *testing.T) {
	t.Parallel()
	for _, e := range recorded(t) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			var keys map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(e.Response, &keys))
			results := map[string]any{
				"tenant": new(apiv1.TenantResult), "tenants": new(apiv1.TenantsResult),
				"node": new(apiv1.NodeResult), "nodes": new(apiv1.NodesResult),
				"session": new(apiv1.SessionResult), "sessions": new(apiv1.SessionsResult),
				"pool": new(apiv1.PoolResult), "pools": new(apiv1.PoolsResult),
			}
			var written int
			for key, result := range results {
				if keys[key] == nil {
					continue
				}
				strict := json.NewDecoder(bytes.NewReader(e.Response))
				strict.DisallowUnknownFields()
				require.NoError(t, strict.Decode(result))
				again, err := json.Marshal(result)
				require.NoError(t, err)
				require.JSONEq(t, string(e.Response), string(again))
				written++
			}
			require.Equal(t, 1, written)
		})
	}
}

// TestRequestsKeepTheirMeaning reads and writes what Duffy 3 accepted.
func TestRequestsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	normalised := strings.NewReplacer(
		`"2"`, `2`, `"session_lifetime": 90`, `"session_lifetime": "90"`,
		`4102444800`, `"4102444800"`, `"comment": null, `, ``, `, "ignored": 1`, ``,
	)
	for _, e := range recorded(t) {
		var body any
		switch resource := strings.Split(e.Path, "/")[3]; e.Method + " " + resource {
		case "POST tenants":
			body = new(apiv1.TenantCreate)
		case "PUT tenants":
			body = new(apiv1.TenantUpdate)
		case "POST nodes":
			body = new(apiv1.NodeCreate)
		case "POST sessions":
			body = new(apiv1.SessionCreate)
		case "PUT sessions":
			body = new(apiv1.SessionUpdate)
		default:
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, json.Unmarshal(e.Request, body))
			again, err := json.Marshal(body)
			require.NoError(t, err)
			require.JSONEq(t, normalised.Replace(string(e.Request)), string(again))
		})
	}
}

func TestPoolIsClosed(t *testing.T) {
	t.Parallel()
	written, err := json.Marshal(apiv1.Pool{Name: "p", Levels: &apiv1.Levels{Ready: 1}})
	require.NoError(t, err)
	require.Equal(t, `{"name":"p","fill-level":0,"levels":{"provisioning":0,"ready":1,`+
		`"contextualizing":0,"deployed":0,"deprovisioning":0}}`, string(written))
}

func TestProblemIsJustDetailByDefault(t *testing.T) {
	t.Parallel()
	written, err := json.Marshal(apiv1.Problem{Detail: "Not Found"})
	require.NoError(t, err)
	require.Equal(t, `{"detail":"Not Found"}`, string(written))
}
