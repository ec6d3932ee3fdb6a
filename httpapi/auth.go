package httpapi

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

type callerKey struct{}

// A login is a caller and when it was authenticated.
type login struct {
	caller *tenant.Caller
	at     time.Time
}

// caller returns the tenant that logged in, or nil.
func caller(ctx context.Context) *tenant.Tenant {
	if l, ok := ctx.Value(callerKey{}).(*login); ok {
		return l.caller.Tenant
	}
	return nil
}

// admit is the huma middleware that finds out who calls operations that ask for
// it, and has the request wait for its turn. It refuses read-only keys all operations
// but reading.
func (a *api) admit(ctx huma.Context, next func(huma.Context)) {
	in, leave, err := a.enter(ctx)
	if err != nil {
		a.writeError(ctx, err)
		return
	}
	defer leave()
	next(huma.WithContext(ctx, in))
}

func (a *api) enter(ctx huma.Context) (in context.Context, leave func(), err error) {
	l, security, header := lineOf(ctx.Context()), ctx.Operation().Security, ctx.Header("Authorization")
	of := requests
	if isList(ctx.Operation()) {
		of = lists
	}
	if len(security) == 0 || header == "" && len(security[0]) == 0 { // optional
		return a.shares.enter(ctx.Context(), holder{from: network(l.from), kind: of})
	}
	name, key, err := basicAuth(header)
	if err != nil {
		return ctx.Context(), nil, err
	}
	began := time.Now()
	c, in, leave, err := a.login(ctx.Context(), name, key, of)
	if err != nil {
		return ctx.Context(), nil, err
	}
	l.tenant = c.Name
	if c.ReadOnly() && !reads(ctx.Method()) {
		leave()
		return ctx.Context(), nil, fault.Newf(fault.Forbidden, "Forbidden: the API key is read-only")
	}
	return context.WithValue(in, callerKey{}, &login{c, began}), leave, nil
}

// login authenticates in the turn of the tenant, if the same was right before, and
// else in that of logins from its address: those that fail, from wherever, cannot
// use up what a tenant has.
func (a *api) login(ctx context.Context, name, key string, of kind) (c *tenant.Caller, in context.Context, leave func(), err error) {
	before, known := a.familiar.holder(name, key)
	first := holder{from: network(lineOf(ctx).from), kind: logins}
	if known {
		first = before
		first.kind = of
	}
	if in, leave, err = a.shares.enter(ctx, first); err != nil {
		return nil, ctx, nil, err
	}
	c, err = a.authenticate(in, name, key)
	if err != nil {
		leave()
		a.familiar.forget(name, key)
		return nil, ctx, nil, err
	}
	now := holder{tenant: c.ID, readOnly: c.ReadOnly()}
	if known && now == before {
		return c, in, leave, nil
	}
	leave()
	a.familiar.add(name, key, now)
	now.kind = of
	in, leave, err = a.shares.enter(ctx, now)
	return c, in, leave, err
}

// trusted is how long a caller is believed to be who it was when it logged in.
const trusted = 100 * time.Millisecond

// noticed is within what time net/http notices that a client has left, after it has
// read the request.
const noticed = 10 * time.Millisecond

// confirm looks once more whether the caller may act, if it took its time to send its
// request, or had to wait: its key may have been taken away meanwhile, or it has left.
func (a *api) confirm(ctx context.Context) (context.Context, error) {
	l, ok := ctx.Value(callerKey{}).(*login)
	if !ok || time.Since(l.at) < trusted {
		return ctx, nil
	}
	select {
	case <-ctx.Done():
		return ctx, ctx.Err()
	case <-time.After(noticed):
	}
	c, err := a.Tenants.Confirm(ctx, l.caller)
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, callerKey{}, &login{c, time.Now()}), nil
}

func (a *api) authenticate(ctx context.Context, name, key string) (*tenant.Caller, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return a.Tenants.AuthenticateFrom(ctx, lineOf(ctx).from, name, key)
}

// reads reports whether operations with this method change nothing.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// writeError answers with err from a middleware.
func (a *api) writeError(ctx huma.Context, err error) {
	e := a.problem(ctx.Context(), err)
	_, w := humago.Unwrap(ctx)
	maps.Copy(w.Header(), e.headers)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	if err := huma.DefaultJSONFormat.Marshal(w, e.Problem); err != nil {
		a.log.DebugContext(ctx.Context(), "cannot answer", "err", err)
	}
}

// basicAuth takes an Authorization header apart, with the errors of Duffy 3.
func basicAuth(header string) (name, key string, err error) {
	scheme, param, _ := strings.Cut(header, " ")
	param = strings.TrimSpace(param)
	if !strings.EqualFold(scheme, "Basic") || param == "" {
		return "", "", fault.Newf(fault.Unauthenticated, "Not authenticated")
	}
	plain, err := base64.StdEncoding.DecodeString(param)
	name, key, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok || !storable(string(plain)) {
		return "", "", fault.Newf(fault.Unauthenticated, "Invalid authentication credentials")
	}
	return name, key, nil
}
