package legacy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/jinja"
)

type handler struct {
	cfg       Config
	log       *slog.Logger
	api       *client.Client // that nobody has logged in to
	users     users
	pools     []poolMapping
	mangling  *jinja.Template // nil leaves hostnames as they are
	endpoints map[string]endpoint
}

// An endpoint is what is behind a path.
type endpoint struct {
	answer    func(context.Context, *call) answer
	anonymous bool // works without a key
}

// A call is a request to an endpoint.
type call struct {
	log    *slog.Logger
	params map[string]string
	tenant string         // whom the key belongs to, empty for anonymous calls
	api    *client.Client // used in the name of the tenant
}

// An answer has a body that is written as JSON, unless it is plainText.
type answer struct {
	status int
	body   any
	header map[string]string
}

type plainText string

// ServeHTTP gives a request an id, answers it and logs that. A path that is not
// known is not logged: by mistake a key may be in it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began, id := time.Now(), uuid.NewString()
	if r.ProtoMajor == 1 && r.Body != nil && r.Body != http.NoBody { // net/http would read it before it answers
		w.Header().Set("Connection", "close")
	}
	c := &call{log: h.log.With("request_id", id), api: h.api.For(forwardedFor(r))}
	a := h.answer(r, c)
	w.Header().Set("X-Request-Id", id)
	if err := a.write(w); err != nil {
		c.log.DebugContext(r.Context(), "cannot answer", "err", err)
	}
	where := r.URL.Path
	if _, found := h.endpoints[where]; !found {
		where = "unknown"
	}
	c.log.InfoContext(r.Context(), "request", "method", r.Method, "path", where, "status", a.status,
		"tenant", c.tenant, "duration", time.Since(began), "remote", r.RemoteAddr)
}

func (h *handler) answer(r *http.Request, c *call) answer {
	e, found := h.endpoints[r.URL.Path]
	switch {
	case !found:
		return h.elsewhere(r.URL)
	case r.Method != http.MethodGet:
		a := problem(http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed))
		a.header = map[string]string{"Allow": http.MethodGet}
		return a
	}
	c.params = parameters(r.URL.RawQuery)
	key := c.params["key"]
	c.tenant = h.users.tenant(key)
	switch {
	case key == "" && !e.anonymous:
		return problem(http.StatusForbidden, "Not authenticated")
	case key == "":
		c.tenant = ""
	case c.tenant == "":
		return problem(http.StatusForbidden, http.StatusText(http.StatusForbidden))
	default:
		c.api = c.api.As(c.tenant, key)
	}
	for _, name := range []string{"ver", "arch", "flavor", "count", "ssid"} {
		if value := c.params[name]; !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			return wrongParameter(name, "value is not text in UTF-8 without U+0000", "value_error")
		}
	}
	return e.answer(r.Context(), c)
}

// forwardedFor tells the REST API from where a request comes, so that those who
// fail to log in too often do not use up the patience it has with others. Whose
// word it takes for that is its own matter.
func forwardedFor(r *http.Request) string {
	hops := r.Header.Values("X-Forwarded-For")
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		hops = append(slices.Clone(hops), host)
	}
	return strings.Join(hops, ", ")
}

// elsewhere answers what is no endpoint, but may be one without a slash at the
// end.
func (h *handler) elsewhere(u *url.URL) answer {
	short := strings.TrimSuffix(u.Path, "/")
	if _, found := h.endpoints[short]; !found {
		return problem(http.StatusNotFound, http.StatusText(http.StatusNotFound))
	}
	to := url.URL{Path: "../" + path.Base(short), RawQuery: u.RawQuery}
	return answer{status: http.StatusTemporaryRedirect, header: map[string]string{"Location": to.String()}}
}

// parameters takes a query apart as Duffy 3 does: of a parameter that is repeated
// the last one counts, and what cannot be decoded stays as it is. To leave out
// the latter, as net/url does, could get somebody another node than asked for.
func parameters(query string) map[string]string {
	params := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		params[unescape(name)] = unescape(value)
	}
	return params
}

func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return text
	}
	return plain
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

func problem(status int, detail any) answer {
	return answer{status: status, body: map[string]any{"detail": detail}}
}

// wrongParameter is the answer where a parameter is not even of its type.
func wrongParameter(name, message, kind string) answer {
	return problem(http.StatusUnprocessableEntity, []any{map[string]any{
		"loc": []string{"query", name}, "msg": message, "type": kind,
	}})
}

func (a answer) write(w http.ResponseWriter) error {
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	var text []byte
	switch body := a.body.(type) {
	case nil:
	case plainText:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text = []byte(body)
	default:
		w.Header().Set("Content-Type", "application/json")
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	w.WriteHeader(a.status)
	_, err := w.Write(text)
	return err
}
