package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusUnprocessableEntity,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Forbidden:       http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.TooMany:         http.StatusTooManyRequests,
}

// outageRetry is when the database may be back, if it is only restarted.
const outageRetry = time.Second

// outage returns the error that the database does not answer.
func outage(err error) *fault.Error {
	return &fault.Error{
		Kind: fault.Unavailable, Detail: "the database is not available, try again", RetryAfter: outageRetry, Err: err,
	}
}

// statusClientClosedRequest is for the log: there is nobody to read an answer.
const statusClientClosedRequest = 499

// An httpError is the answer to a request that failed.
type httpError struct {
	apiv1.Problem
	headers http.Header
}

func (e *httpError) Error() string           { return e.Detail }
func (e *httpError) GetStatus() int          { return e.Status }
func (e *httpError) GetHeaders() http.Header { return e.headers }

// problem returns the answer for err. The text of an error that nobody can do
// anything about goes to the log only.
func (a *api) problem(ctx context.Context, err error) *httpError {
	var f *fault.Error
	if e := new(httpError); errors.As(err, &e) {
		return e
	}
	late := errors.Is(err, context.DeadlineExceeded) // which is one of ours: clients have none
	switch {
	case errors.As(err, &f):
	case errors.Is(err, db.ErrShare):
		f = errBusy
	case db.Unstorable(err):
		f = &fault.Error{Kind: fault.Invalid, Detail: "the request has characters that the database cannot hold", Err: err}
	case late || db.Unavailable(err):
		a.log.WarnContext(ctx, "the database is not available", "err", err)
		f = outage(nil)
	}
	if f == nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return newError(statusClientClosedRequest, "the client closed the request")
		}
		a.log.ErrorContext(ctx, "request failed", "err", err)
		return newError(http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))
	}
	if f.Err != nil {
		a.log.DebugContext(ctx, "request refused", "detail", f.Detail, "err", f.Err)
	}
	e := newError(statuses[f.Kind], f.Detail)
	switch f.Kind {
	case fault.Unauthenticated:
		e.headers = http.Header{"Www-Authenticate": {`Basic realm="duffy"`}}
	case fault.Unavailable, fault.TooMany:
		e.headers = http.Header{"Retry-After": {fmt.Sprintf("%.0f", f.RetryAfter.Seconds())}}
	}
	return e
}

func newError(status int, detail string) *httpError {
	return &httpError{Problem: apiv1.Problem{Title: http.StatusText(status), Status: status, Detail: detail}}
}

// problems is the huma transformer that brings errors into the form of
// [apiv1.Problem]. Values of wrong input are left out: they may be secrets.
func (a *api) problems(_ huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *httpError:
		return e.Problem, nil
	case *huma.ErrorModel:
		return fromHuma(e), nil
	}
	return v, nil
}

// mostMistakes is how many mistakes an answer names.
const mostMistakes = 20

func fromHuma(e *huma.ErrorModel) apiv1.Problem {
	p := newError(plain(e.Status), e.Detail).Problem
	var texts []string
	for _, d := range e.Errors[:min(len(e.Errors), mostMistakes)] {
		p.Errors = append(p.Errors, apiv1.ProblemItem{Message: d.Message, Location: d.Location})
		texts = append(texts, fmt.Sprintf("%s: %s", d.Location, d.Message))
	}
	if more := len(e.Errors) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more mistakes", more))
	}
	if len(texts) > 0 {
		p.Detail = strings.Join(texts, "; ")
	}
	return p
}

// plain maps 400, huma's status for what is not even JSON, to Duffy 3's.
func plain(status int) int {
	if status == http.StatusBadRequest {
		return http.StatusUnprocessableEntity
	}
	return status
}

// plainStatus is a huma middleware that has errors answered with the status and
// the content type of Duffy 3.
func plainStatus(ctx huma.Context, next func(huma.Context)) { next(plainContext{ctx}) }

type humaContext huma.Context // embedded, it must not be called Context

type plainContext struct{ humaContext }

func (c plainContext) Unwrap() huma.Context { return c.humaContext }

func (c plainContext) SetStatus(status int) { c.humaContext.SetStatus(plain(status)) }

func (c plainContext) SetHeader(name, value string) {
	if value == "application/problem+json" {
		value = "application/json"
	}
	c.humaContext.SetHeader(name, value)
}
