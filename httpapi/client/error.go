package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// An Error is an answer of the server, or of a proxy before it, that is not the
// wanted one.
type Error struct {
	Status int // of HTTP

	// Detail is what is wrong, for example "session 5 is retired".
	Detail string

	// Errors says what is wrong with which part of the request.
	Errors []apiv1.ProblemItem

	// RequestID is what the server's log knows the request by.
	RequestID string

	// RetryAfter is how long to wait before asking again, nil if the server
	// thinks that this would not help.
	RetryAfter *time.Duration

	// Body is the answer as the server wrote it, nil if it is no JSON object with
	// a detail and therefore not from Duffy.
	Body json.RawMessage
}

func (e *Error) Error() string {
	if e.RequestID == "" {
		return fmt.Sprintf("%s (status %d)", e.Detail, e.Status)
	}
	return fmt.Sprintf("%s (status %d, request %s)", e.Detail, e.Status, e.RequestID)
}

func newError(res *http.Response, body []byte) *Error {
	e := &Error{
		Status:     res.StatusCode,
		RequestID:  res.Header.Get("X-Request-Id"),
		RetryAfter: retryAfter(res.Header.Get("Retry-After")),
	}
	var problem struct {
		Detail json.RawMessage
		Errors json.RawMessage
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == nil {
		e.Detail = foreign(res, body)
		return e
	}
	e.Body = body
	if json.Unmarshal(problem.Detail, &e.Detail) != nil {
		e.Detail = compact(problem.Detail) // Duffy 3 puts a list of objects there
	}
	if json.Unmarshal(problem.Errors, &e.Errors) != nil {
		e.Errors = nil
	}
	return e
}

// foreign describes an answer that is not from Duffy.
func foreign(res *http.Response, body []byte) string {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode)))
	if to, err := res.Location(); err == nil {
		return fmt.Sprintf("%s: use %s instead", status, to.Redacted())
	}
	const most = 120
	text := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "")), " "))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return fmt.Sprintf("%s is not an answer of Duffy: %q", status, string(text))
}

func compact(data json.RawMessage) string {
	var short bytes.Buffer
	if json.Compact(&short, data) != nil {
		return string(data)
	}
	return short.String()
}

func retryAfter(header string) *time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return new(time.Duration(seconds) * time.Second)
	}
	if at, err := http.ParseTime(header); err == nil {
		return new(max(0, time.Until(at)))
	}
	return nil
}
