package client_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/client"
)

// A canned server answers everything alike.
type canned struct {
	status             int
	body               string
	retryAfter, locate string
}

func (c canned) RoundTrip(req *http.Request) (*http.Response, error) {
	header := http.Header{"Retry-After": {c.retryAfter}, "Location": {c.locate}}
	return &http.Response{StatusCode: c.status, Header: header, Body: io.NopCloser(strings.NewReader(c.body)), Request: req}, nil
}

// FuzzAnswers has servers, and what is before them, answer anything.
func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"action": "get"}`, "", "")
	f.Add(422, `{"detail": "no", "errors": [{"message": "m", "location": "l"}]}`, "", "")
	f.Add(422, `{"detail": [{"loc": ["body"], "msg": "m"}], "errors": 5}`, "0", "")
	f.Add(429, `{"detail": "too many failed logins"}`, "15", "")
	f.Add(429, "", "-1", "")
	f.Add(503, "<html>", "Sun, 22 Nov 2026 15:43:13 GMT", "")
	f.Add(307, "", "99999999999999999999", "http://u:secret@elsewhere/%zz")
	f.Fuzz(func(t *testing.T, status int, body, retryAfter, location string) {
		if status < 200 || status > 599 {
			return // not HTTP
		}
		c, err := client.New("http://duffy/api/v1", client.Config{Key: "k", Tenant: "t", HTTPClient: &http.Client{
			Transport:     canned{status, body, retryAfter, location},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}})
		require.NoError(t, err)
		answer, err := c.Do(t.Context(), http.MethodGet, "/", nil)
		if err == nil {
			require.Equal(t, 2, status/100)
			require.True(t, json.Valid(answer))
			return
		}
		var refused *client.Error
		if !errors.As(err, &refused) {
			return
		}
		require.Equal(t, status, refused.Status)
		if refused.RetryAfter != nil {
			require.GreaterOrEqual(t, refused.RetryAfter.Seconds(), 0.0)
		}
		if refused.Body != nil {
			require.JSONEq(t, body, string(refused.Body))
		} else {
			require.NotEmpty(t, refused.Detail)
		}
	})
}
