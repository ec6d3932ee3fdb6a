package client_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

func TestError(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		want   client.Error
		text   string
	}{
		"Duffy 3": {
			status: 422, body: `{"detail":"session 5 is retired"}`,
			want: client.Error{Status: 422, Detail: "session 5 is retired"},
			text: "session 5 is retired (status 422)",
		},
		"with all there is": {
			status: 503,
			header: http.Header{"X-Request-Id": {"r1"}, "Retry-After": {"0"}},
			body:   `{"status":503,"detail":"no","errors":[{"message":"m","location":"body.x","value":1}],"later":1}`,
			want: client.Error{
				Status: 503, Detail: "no", RequestID: "r1", RetryAfter: new(time.Duration(0)),
				Errors: []apiv1.ProblemItem{{Message: "m", Location: "body.x", Value: 1.0}},
			},
			text: "no (status 503, request r1)",
		},
		"Retry-After as a time": {
			status: 503, header: http.Header{"Retry-After": {"Mon, 01 Jan 2001 00:00:00 GMT"}}, body: `{"detail":"no"}`,
			want: client.Error{Status: 503, Detail: "no", RetryAfter: new(time.Duration(0))},
			text: "no (status 503)",
		},
		"validation error of Duffy 3": {
			status: 422, body: `{"detail": [{"loc": ["path", "id"], "msg": "no"}]}`,
			want: client.Error{Status: 422, Detail: `[{"loc":["path","id"],"msg":"no"}]`},
			text: `[{"loc":["path","id"],"msg":"no"}] (status 422)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := answered(t, tt.status, tt.header, tt.body)
			tt.want.Body = []byte(tt.body)
			require.Equal(t, &tt.want, err)
			require.EqualError(t, err, tt.text)
		})
	}
}

func TestAnswerOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status       int
		body, detail string
	}{
		"proxy":       {502, "<html>\n <h1>Bad\tgateway</h1>", `502 Bad Gateway is not an answer of Duffy: "<html> <h1>Bad gateway</h1>"`},
		"log-in page": {200, "<html>", `200 OK is not an answer of Duffy: "<html>"`},
		"other JSON":  {404, `{"message":"no route"}`, `404 Not Found is not an answer of Duffy: "{\"message\":\"no route\"}"`},
		"a list":      {500, `[1]`, `500 Internal Server Error is not an answer of Duffy: "[1]"`},
		"nothing":     {599, "", `599 is not an answer of Duffy: ""`},
		"long":        {500, strings.Repeat("ü", 200), `500 Internal Server Error is not an answer of Duffy: "` + strings.Repeat("ü", 120) + `…"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, &client.Error{Status: tt.status, Detail: tt.detail}, answered(t, tt.status, nil, tt.body))
		})
	}
}

// answered returns the client's error when the server answers like that.
func answered(t *testing.T, status int, header http.Header, body string) *client.Error {
	t.Helper()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for key, values := range header {
			w.Header()[key] = values
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	_, err := newClient(t, url, client.Config{}).GetSession(t.Context(), 5)
	var answer *client.Error
	require.ErrorAs(t, err, &answer)
	return answer
}
