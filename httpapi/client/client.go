// Package client talks to Duffy's REST API, of this version or of Duffy 3.
//
// Every method is one request. None is repeated by itself: what is safe to
// repeat, and when, only the caller knows. [Error.RetryAfter] tells when the
// server thinks that asking again may help.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	connectTimeout = 10 * time.Second

	// defaultTimeout outlasts the slowest request of a session: its nodes are
	// logged in to, and replaced by others if they don't answer.
	defaultTimeout = 5 * time.Minute
)

// Config says who asks and how. The zero value asks anonymously, which is
// enough for reading pools, nodes and sessions unless the server forbids it.
type Config struct {
	Tenant string // name of the tenant
	Key    string // API key of the tenant

	// HTTPClient sends the requests; nil is one of the client's own, which gives
	// up connecting after 10 seconds and honours the proxy environment variables.
	// That one trusts the authorities in the file that SSL_CERT_FILE names, if any.
	HTTPClient *http.Client

	// Timeout is how long a request may take altogether, 5 minutes if 0. A
	// context can make it shorter.
	Timeout time.Duration

	// UserAgent is "duffy-client" if empty.
	UserAgent string

	// ForwardedFor goes into X-Forwarded-For, for programs that ask on behalf of
	// others: where these are, as far as the program knows. Servers believe it of
	// those only whom they trust.
	ForwardedFor string
}

// A Client is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
	cfg  Config
}

// New returns a client of the API at baseURL, which includes the API's path,
// such as http://duffy.example.net:8080/api/v1. No connection is made yet.
func New(baseURL string, cfg Config) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil { // which may quote a password
		return nil, errors.New("URL of the Duffy API: it is not like http://host:8080/api/v1")
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("URL of the Duffy API: %q is not like http://host:8080/api/v1", base.Redacted())
	}
	if cfg.HTTPClient == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
		cfg.HTTPClient = &http.Client{Transport: transport}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "duffy-client"
	}
	sender := *cfg.HTTPClient
	if sender.CheckRedirect == nil {
		sender.CheckRedirect = keepMethod
	}
	return &Client{base: strings.TrimRight(baseURL, "/"), http: &sender, cfg: cfg}, nil
}

// As returns a client of the same API, over the same connections, for another
// tenant.
func (c *Client) As(tenant, key string) *Client {
	other := *c
	other.cfg.Tenant, other.cfg.Key = tenant, key
	return &other
}

// For returns a client of the same API, over the same connections, that asks on
// behalf of somebody elsewhere, see [Config.ForwardedFor].
func (c *Client) For(forwardedFor string) *Client {
	other := *c
	other.cfg.ForwardedFor = forwardedFor
	return &other
}

// keepMethod follows redirects unless that would make a GET of a POST: the
// answer to a request for a session would be the list of sessions.
func keepMethod(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	if len(via) == 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// Do sends body as JSON, or nothing if body is nil, to path below the base URL,
// for example /sessions/5, and returns the answer as the server wrote it, with
// all that this version of the client does not know. An answer that is no
// success, or no JSON, is an *[Error]. Any other error means that there was no
// answer; the request may have been carried out nevertheless.
func (c *Client) Do(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout,
		fmt.Errorf("no answer within %s: %w", c.cfg.Timeout, context.DeadlineExceeded))
	defer cancel()
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, &url.Error{Op: method, URL: req.URL.Redacted(), Err: err}
	}
	if res.StatusCode/100 != 2 || !json.Valid(answer) {
		return nil, newError(res, answer)
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.ForwardedFor != "" {
		req.Header.Set("X-Forwarded-For", c.cfg.ForwardedFor)
	}
	if c.cfg.Tenant != "" {
		req.SetBasicAuth(c.cfg.Tenant, c.cfg.Key)
	}
	return req, nil
}

// call does a request and reads the answer into result.
func (c *Client) call(ctx context.Context, method, path string, body, result any) error {
	answer, err := c.Do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return nil
}
