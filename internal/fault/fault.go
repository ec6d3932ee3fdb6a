// Package fault classifies the errors that Duffy's callers can act on. An error
// of no kind is one that they cannot act on: its text is for the log.
package fault

import (
	"fmt"
	"time"
)

// A Kind says what a caller can do about an error. Kinds are errors themselves:
// errors.Is(err, fault.NotFound) reports whether err is of that kind.
type Kind string

func (k Kind) Error() string { return string(k) }

// The kinds of errors, in words and as the HTTP status they become.
const (
	Invalid         Kind = "invalid"         // 422: what was asked for makes no sense
	Unauthenticated Kind = "unauthenticated" // 401: who asks is not known
	Forbidden       Kind = "forbidden"       // 403: who asks may not
	NotFound        Kind = "not found"       // 404
	Conflict        Kind = "conflict"        // 409: it exists already
	Unavailable     Kind = "unavailable"     // 503: asking again may help
	TooMany         Kind = "too many"        // 429: asking again later may help
)

// Error is an error whose Detail may be shown to the caller.
type Error struct {
	Kind   Kind
	Detail string
	Err    error // the cause, for the log only

	// RetryAfter is how long to wait before asking again, where that may help.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap lets errors.Is find the kind, and the cause if there is one.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Kind, e.Err}
	}
	return []error{e.Kind}
}

// Newf returns an error of kind k for the caller to read.
func Newf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Detail: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of kind k that shows detail to the caller and keeps err
// for the log.
func Wrap(k Kind, err error, detail string) error {
	return &Error{Kind: k, Detail: detail, Err: err}
}
