package httpapi_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/browsertest"
)

// TestPagesElsewhereChangeNothing has the browser of an administrator, which remembers
// its key, open pages elsewhere that try to make tenants of their own.
func TestPagesElsewhereChangeNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	port := portOf(t, s.url)
	elsewhere := httptest.NewServer(http.HandlerFunc(attack))
	t.Cleanup(elsewhere.Close)
	evil := portOf(t, elsewhere.URL)
	for _, host := range []string{"duffy." + browsertest.Domain, "127.0.0.1"} { // which browsers trust less, and more
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			b := browsertest.New(t)
			api := fmt.Sprintf("http://%s:%s", host, port)
			require.Contains(t, b.Open(t, fmt.Sprintf("http://admin:%s@%s:%s/api/v1/tenants", s.admin.key, host, port)), `"alice"`)
			for i, page := range []string{host + ":" + evil, "ci." + browsertest.Domain + ":" + evil, "localhost:" + evil} {
				for _, how := range attacks {
					name := fmt.Sprintf("eve-%s-%d-%s", host, i, how)
					query := url.Values{"api": {api}, "name": {name}, "how": {how}}
					b.Open(t, "http://"+page+"/?"+query.Encode())
					if how == "form" {
						b.Click(t, "input[type=submit]")
						require.Contains(t, b.Text(t, "pre"), "another origin", name)
					} else {
						b.Text(t, "#done")
					}
					require.NotContains(t, s.do(t, s.admin, "GET", "/api/v1/tenants", "").text, name)
				}
			}
			b.Open(t, api+"/docs/")
			status := b.Run(t, `return String((await fetch("/api/v1/tenants", {method: "POST", headers: {"Content-Type": "application/json"},
				body: JSON.stringify({name: "by-`+host+`", ssh_key: "k"})})).status)`)
			require.Equal(t, "201", status, "the browser remembers the key, and pages here may use it")
		})
	}
}

// The ways in which pages elsewhere try.
var attacks = []string{"form", "untyped", "text", "readable"}

// attack is a page that makes the browser send a request to create a tenant.
func attack(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	body := fmt.Sprintf(`{"name": %q, "ssh_key": "k", "is_admin": true, "x": "="}`, q.Get("name"))
	target := q.Get("api") + "/api/v1/tenants"
	w.Header().Set("Content-Type", "text/html")
	if q.Get("how") == "form" {
		name, value, _ := strings.Cut(body, "=")
		fmt.Fprintf(w, `<form method=post enctype=text/plain action="%s"><input type=hidden name='%s' value='%s'><input type=submit></form>`,
			target, html.EscapeString(name), html.EscapeString(value))
		return
	}
	options := map[string]string{
		"untyped":  `mode: "no-cors", body: new Blob([body])`,
		"text":     `mode: "no-cors", body: body`,
		"readable": `mode: "cors", body: new Blob([body])`,
	}[q.Get("how")]
	fmt.Fprintf(w, `<p>wait</p><script>
		const body = %q;
		fetch(%q, {method: "POST", credentials: "include", %s}).catch(() => {}).then(() => {
			document.body.innerHTML = "<p id=done>done</p>";
		});
	</script>`, body, target, options)
}

func portOf(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u.Port()
}

// TestDocsInABrowser uses the docs under their content security policy.
func TestDocsInABrowser(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := browsertest.New(t)
	b.Open(t, s.url+"/docs/")
	b.Click(t, "#operations-pools-list-pools .opblock-summary-control")
	b.Click(t, "#operations-pools-list-pools .try-out__btn")
	b.Click(t, "#operations-pools-list-pools .execute")
	require.Contains(t, b.Text(t, "#operations-pools-list-pools .live-responses-table tbody"), `"fill-level": 3`)
	b.Click(t, ".auth-wrapper .authorize")
	require.Contains(t, b.Text(t, ".auth-container"), "Username")
	require.Empty(t, b.Complaints(t))

	b.Run(t, `const script = document.createElement("script"); script.textContent = "window.ran = true";
		document.body.append(script); return "";`)
	require.Equal(t, "undefined", b.Run(t, `return String(window.ran)`), "the policy forbids inline scripts")
	require.NotEmpty(t, b.Complaints(t), "the browser tells violations of the policy")
}

// TestBehindAPrefix uses the docs behind a proxy that strips a part of the path.
func TestBehindAPrefix(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	proxy := httptest.NewServer(http.StripPrefix("/duffy", s.handler))
	t.Cleanup(proxy.Close)
	for from, to := range map[string]string{
		"/duffy/docs": "/duffy/docs/", "/duffy/docs?a=b": "/duffy/docs/?a=b",
		"/duffy/api/v1/pools/": "/duffy/api/v1/pools", "/duffy/api/v1/pools/a//": "/duffy/api/v1/pools/a", "/duffy/healthz/": "/duffy/healthz",
	} {
		res, err := http.Get(proxy.URL + from)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 200, res.StatusCode, from)
		require.Equal(t, to, res.Request.URL.RequestURI())
	}
	b := browsertest.New(t)
	b.Open(t, proxy.URL+"/duffy/docs")
	b.Click(t, "#operations-pools-list-pools .opblock-summary-control")
	b.Click(t, "#operations-pools-list-pools .try-out__btn")
	b.Click(t, "#operations-pools-list-pools .execute")
	require.Contains(t, b.Text(t, "#operations-pools-list-pools .live-responses-table tbody"), `"fill-level": 3`)
	require.Empty(t, b.Complaints(t))
}

// TestNothingIsFramed has a page elsewhere show the docs and the API in frames, to have
// an administrator click there without knowing.
func TestNothingIsFramed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	b := browsertest.New(t)
	for _, path := range []string{"/docs/", "/api/v1/pools", "/nosuch"} {
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<p>here</p><iframe src="%s"></iframe>`, s.url+path)
		}))
		b.Open(t, page.URL)
		require.Contains(t, strings.Join(b.Complaints(t), "\n"), "frame-ancestors 'none'", path)
		page.Close()
	}
}
