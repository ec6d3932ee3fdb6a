package legacy

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
)

// direct is a transport that has a handler answer, without a network in between.
type direct struct{ handler http.Handler }

// RoundTrip implements [http.RoundTripper]. It takes as long as the handler, whose
// matter it is to end with the request's context.
func (d direct) RoundTrip(sent *http.Request) (*http.Response, error) {
	received := sent.Clone(sent.Context())
	received.RequestURI = sent.URL.RequestURI()
	received.URL = &url.URL{Path: sent.URL.Path, RawPath: sent.URL.RawPath, RawQuery: sent.URL.RawQuery}
	if received.Body == nil {
		received.Body = http.NoBody
	}
	defer received.Body.Close()
	w := &response{header: http.Header{}}
	if err := d.serve(w, received); err != nil {
		return nil, err
	}
	if w.status == 0 {
		if err := sent.Context().Err(); err != nil {
			return nil, err
		}
		w.WriteHeader(http.StatusOK)
	}
	return &http.Response{
		StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: sent,
	}, nil
}

// serve has the handler answer. One that breaks off fails as it would over a
// network.
func (d direct) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF
		} else if p != nil {
			panic(p)
		}
	}()
	d.handler.ServeHTTP(w, r)
	return nil
}

// A response is what a handler writes.
type response struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
