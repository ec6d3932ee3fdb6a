package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/internal/fault"
)

// receive is a huma middleware that reads what comes with a request, and lets pass only
// text that a database can store as it is: the fields of all operations are strings that
// need no more checks for that. It reads bodies of the content types that Duffy 3 reads.
func (a *api) receive(ctx huma.Context, next func(huma.Context)) {
	if err := checkURL(ctx.URL()); err != nil {
		a.writeError(ctx, err)
		return
	}
	if ctx.Operation().RequestBody == nil {
		next(ctx)
		return
	}
	body, err := readBody(ctx)
	if err != nil {
		a.writeError(ctx, err)
		return
	}
	next(receivedContext{ctx, body})
}

// A receivedContext has a body that was read.
type receivedContext struct {
	humaContext
	body []byte
}

func (c receivedContext) Unwrap() huma.Context { return c.humaContext }

func (c receivedContext) BodyReader() io.Reader { return bytes.NewReader(c.body) }

func (c receivedContext) Header(name string) string {
	if http.CanonicalHeaderKey(name) == "Content-Type" {
		return "application/json"
	}
	return c.humaContext.Header(name)
}

// readBody returns the body of a request, without a byte order mark.
func readBody(ctx huma.Context) ([]byte, error) {
	if !isJSON(ctx.Header("Content-Type")) {
		return nil, newError(http.StatusUnsupportedMediaType, "the body must be JSON: send it with Content-Type: application/json")
	}
	_ = ctx.SetReadDeadline(time.Now().Add(bodyTimeout))
	most := ctx.Operation().MaxBodyBytes
	body, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), most+1))
	var network net.Error
	switch {
	case int64(len(body)) > most:
		return nil, newError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", most))
	case errors.As(err, &network) && network.Timeout():
		return nil, newError(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %.0f s", bodyTimeout.Seconds()))
	case err != nil:
		return nil, newError(http.StatusBadRequest, "the body broke off, or its chunks are malformed")
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	return body, checkText(body)
}

// isJSON tells whether Duffy 3 reads a body of this content type, in any case and with any
// parameters, as JSON.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	subtype, ok := strings.CutPrefix(kind, "application/")
	return contentType == "" || ok && !strings.Contains(subtype, "/") && (subtype == "json" || strings.HasSuffix(subtype, "+json"))
}

// checkURL refuses a path and a query with text that no database can store.
func checkURL(u url.URL) error {
	if !storable(u.Path) {
		return unstorable("path")
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		if plain, err := url.QueryUnescape(pair); err == nil && !storable(plain) {
			return unstorable("query")
		}
	}
	return nil
}

func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

func unstorable(where string) error {
	return fault.Newf(fault.Invalid, "%s: expected text in UTF-8 without U+0000 and halves of characters", where)
}

// escapes matches escapes in JSON, and in its group those of U+0000 and of one half of a
// character.
var escapes = regexp.MustCompile(`(?is)\\ud[89ab]..\\ud[c-f]..|(\\u0000|\\ud[89a-f])|\\.`)

// depthMax is how many levels of objects and lists a body may have. SQLite can look into
// a thousand.
const depthMax = 64

// checkText refuses JSON whose strings and keys are not storable, before a decoder
// replaces parts of them, and JSON that is nested too deeply.
func checkText(body []byte) error {
	if !storable(string(body)) {
		return unstorable("body")
	}
	if depth(body) > depthMax {
		return fault.Newf(fault.Invalid, "body: expected at most %d levels of objects and lists", depthMax)
	}
	for _, match := range escapes.FindAllSubmatchIndex(body, -1) {
		if match[2] >= 0 {
			return unstorable("body")
		}
	}
	return nil
}

// depth returns how many levels of objects and lists there are in JSON.
func depth(body []byte) (most int) {
	level, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			most = max(most, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return most
}
