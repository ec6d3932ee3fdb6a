package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// A list is read from the database in pages of so many rows, each of which is
// written before the next one is read: a request takes the memory of a page,
// however long the list is.
const pageRows = 100

const (
	// pageTimeout is how long it may take to read a page from the database, and how
	// long a client may take to receive it.
	pageTimeout = 30 * time.Second

	// listTimeout is how long a whole list may take.
	listTimeout = 170 * time.Second
)

// listQuery is the part of a list that a client wants.
type listQuery struct {
	After int64 `query:"after" minimum:"0" doc:"Only what has a higher ID"`
	Limit int   `query:"limit" minimum:"1" maximum:"1000" doc:"How many at most, all if it is absent; the header Link has the rest then"`
}

// listOutput is what operations return that answer with a list.
type listOutput struct {
	Link string `header:"Link" doc:"The rest of a list that limit cut off, as rel=\"next\""`
	Body func(huma.Context)
}

// listOperation completes an operation that answers with a T, the list in it.
func listOperation[T any](g huma.API, op huma.Operation) huma.Operation {
	schema := g.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	op.Responses = map[string]*huma.Response{"200": {
		Description: http.StatusText(http.StatusOK),
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}}
	op.Metadata = map[string]any{timeoutKey: listTimeout}
	return op
}

// isList reports whether listOperation completed op.
func isList(op *huma.Operation) bool { return op.Metadata[timeoutKey] == listTimeout }

// An item is an element of a list.
type item struct {
	id  int64
	doc any // becomes JSON
}

// A pageReader returns the items with the lowest ids above after, in order, and
// most of them at most.
type pageReader func(ctx context.Context, after int64, most int) ([]item, error)

// list answers with a list called name. The first page is read at once, so that
// most errors are answers still.
func (a *api) list(ctx context.Context, q *listQuery, name string, read pageReader) (*listOutput, error) {
	l := &list{api: a, name: name, read: read, rows: pageRows, began: time.Now()}
	if q.Limit > 0 {
		l.rows, l.limited = q.Limit, true
	}
	if err := l.next(ctx, q.After); err != nil {
		return nil, err
	}
	out := &listOutput{Body: l.write}
	if l.limited && l.more {
		out.Link = fmt.Sprintf(`<?after=%d&limit=%d>; rel="next"`, l.last, q.Limit)
	}
	return out, nil
}

// A list is one that is being written.
type list struct {
	*api
	name    string
	read    pageReader
	rows    int  // of a page
	limited bool // to a single page
	began   time.Time

	page  bytes.Buffer // as JSON
	begun bool         // there was an item
	last  int64        // id in the page, or before it
	more  bool         // items follow it
}

// next reads the page after an id. It holds nothing of the database when it
// returns.
func (l *list) next(ctx context.Context, after int64) error {
	ctx, done, err := l.shares.page(ctx)
	if err != nil {
		return err
	}
	defer done()
	within, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	items, err := l.read(within, after, l.rows+1)
	if err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			err = outage(err)
		}
		return err
	}
	l.last, l.more = after, len(items) > l.rows
	l.page.Reset()
	enc := json.NewEncoder(&l.page)
	enc.SetEscapeHTML(false)
	for _, it := range items[:min(len(items), l.rows)] {
		if l.begun {
			l.page.WriteByte(',')
		}
		if err := enc.Encode(it.doc); err != nil {
			return err
		}
		l.page.Truncate(l.page.Len() - 1) // the line's end
		l.begun, l.last = true, it.id
	}
	return nil
}

// write writes the list. If it cannot be completed it breaks the connection: what
// ended properly would look like all of it.
func (l *list) write(ctx huma.Context) {
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(http.StatusOK)
	if err := l.writePages(ctx); err != nil {
		status := http.StatusInternalServerError
		if ctx.Context().Err() != nil || errors.As(err, new(writeError)) {
			status = statusClientClosedRequest
		}
		l.log.WarnContext(ctx.Context(), "list broken off", "list", l.name, "err", err)
		lineOf(ctx.Context()).status = status
		panic(http.ErrAbortHandler)
	}
}

func (l *list) writePages(ctx huma.Context) error {
	_, w := humago.Unwrap(ctx)
	out := pageWriter{w, http.NewResponseController(w), l.began.Add(listTimeout)}
	if err := out.write(fmt.Appendf(nil, `{"action":"%s","%s":[`, apiv1.ActionGet, l.name)); err != nil {
		return err
	}
	err := out.write(l.page.Bytes())
	for err == nil && l.more && !l.limited {
		if err = l.next(ctx.Context(), l.last); err == nil {
			err = out.write(l.page.Bytes())
		}
	}
	if err == nil {
		err = out.write([]byte("]}\n"))
	}
	return err
}

// A pageWriter gives clients so long to receive a page, and all pages.
type pageWriter struct {
	io.Writer
	conn *http.ResponseController
	end  time.Time
}

// A writeError is why a client gets no more.
type writeError struct{ error }

func (w pageWriter) write(page []byte) error {
	deadline := time.Now().Add(pageTimeout)
	if deadline.After(w.end) {
		deadline = w.end
	}
	if err := w.conn.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return writeError{err}
	}
	if _, err := w.Write(page); err != nil {
		return writeError{err}
	}
	return nil
}
