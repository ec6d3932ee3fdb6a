package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A line is what the log will say about a request.
type line struct {
	id      string
	from    netip.Addr // zero for this machine without a network
	tenant  string
	status  int
	pattern string // of the mux, empty if there is none for it
}

type lineKey struct{}

func lineOf(ctx context.Context) *line {
	l, _ := ctx.Value(lineKey{}).(*line)
	return l
}

// LogHandler has h write the id of the request, if there is one, to each record
// that is logged with the request's context.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if l := lineOf(ctx); l != nil {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", l.id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }

// observe gives every request an id, logs it, and keeps a panic from ending
// more than its own request.
func (a *api) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		l := &line{id: uuid.NewString(), from: remote(r, a.TrustedProxies)}
		r = r.WithContext(context.WithValue(r.Context(), lineKey{}, l))
		answer := &statusWriter{w, l, watch(r)}
		w.Header().Set("X-Request-Id", l.id)
		setHeaders(w.Header(), r, a.TrustedProxies)
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				a.log.ErrorContext(r.Context(), "request panicked", "panic", fmt.Sprint(p))
				if l.status == 0 {
					writeProblem(answer, http.StatusInternalServerError)
				}
			}
			took := time.Since(began)
			a.metrics.answered(l, r.Method, took)
			a.log.InfoContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", l.status,
				"tenant", l.tenant, "duration", took, "remote", l.remote())
			if p == http.ErrAbortHandler {
				panic(p)
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

func (l *line) remote() string {
	if !l.from.IsValid() {
		return "local"
	}
	return l.from.String()
}

// A watchedBody notes whether it was read to its end.
type watchedBody struct {
	io.ReadCloser
	ended bool
}

// watch returns the body of r, which watches it from now on.
func watch(r *http.Request) *watchedBody {
	b := &watchedBody{ReadCloser: r.Body, ended: r.Body == nil || r.Body == http.NoBody || r.ProtoMajor > 1}
	if !b.ended {
		r.Body = b
	}
	return b
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err == io.EOF
	return n, err
}

// A statusWriter remembers the status of an answer. An answer to a request whose body
// was not read to its end ends the connection: net/http would wait for the body before it
// sends the answer, and what follows malformed chunks may look like another request.
type statusWriter struct {
	http.ResponseWriter
	line *line
	body *watchedBody
}

func (w *statusWriter) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) begin(status int) {
	if w.line.status != 0 {
		return
	}
	w.line.status = status
	if !w.body.ended {
		w.Header().Set("Connection", "close")
	}
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// routed answers what mux has no handler for as Duffy 3 does: in JSON, and with
// a redirection where only a slash at the end is too many. A path that is not clean is
// not found: mux would redirect it, and //host/.. leads to another host.
func routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isClean(r.URL.Path) {
			switch _, pattern := mux.Handler(r); {
			case pattern == "":
			case strings.HasSuffix(pattern, r.URL.Path+"/"): // the mux would redirect to the root of the host
				redirect(w, r, path.Base(r.URL.Path)+"/")
				return
			default:
				lineOf(r.Context()).pattern = pattern
				mux.ServeHTTP(w, r)
				return
			}
			if allowed := methods(mux, r); len(allowed) > 0 {
				w.Header().Set("Allow", strings.Join(allowed, ", "))
				writeProblem(w, http.StatusMethodNotAllowed)
				return
			}
		}
		short := r.Clone(r.Context())
		short.URL = &url.URL{Path: strings.TrimRight(r.URL.Path, "/")}
		if slashes := len(r.URL.Path) - len(short.URL.Path); slashes > 0 && isClean(short.URL.Path) {
			if _, pattern := mux.Handler(short); pattern != "" {
				redirect(w, r, strings.Repeat("../", slashes)+path.Base(short.URL.Path))
				return
			}
		}
		writeProblem(w, http.StatusNotFound)
	})
}

// redirect leads to a path relative to that of r, whatever a proxy has put before both.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	target := url.URL{Path: to, RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", target.String())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// isClean tells whether path is absolute, without empty, . and .. elements but for a
// slash at the end.
func isClean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/" && clean != "/")
}

func methods(mux *http.ServeMux, r *http.Request) []string {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	return allowed
}

func writeProblem(w http.ResponseWriter, status int) { writeDetail(w, status, http.StatusText(status)) }

func writeDetail(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(newError(status, detail).Problem)
}
