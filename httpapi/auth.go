package httpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

type tenantKey struct{}

// caller returns the tenant who logged in, or nil.
func caller(ctx context.Context) *tenant.Tenant {
	t, _ := ctx.Value(tenantKey{}).(*tenant.Tenant)
	return t
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
	if len(security) == 0 || header == "" && len(security[0]) == 0 { // optional
		return a.shares.stranger(ctx.Context(), network(l.from), a.shares.anonymous)
	}
	name, key, err := basicAuth(header)
	if err != nil {
		return ctx.Context(), nil, err
	}
	c, in, leave, err := a.login(ctx.Context(), name, key)
	if err != nil {
		return ctx.Context(), nil, err
	}
	l.tenant = c.Name
	if c.ReadOnly() && !reads(ctx.Method()) {
		leave()
		return ctx.Context(), nil, fault.Newf(fault.Forbidden, "Forbidden: the API key is read-only")
	}
	return context.WithValue(in, tenantKey{}, c.Tenant), leave, nil
}

// login authenticates in the turn of the tenant, if the same was right before, and
// else in that of logins from its address: those that fail, from wherever, cannot
// use up what a tenant has.
func (a *api) login(ctx context.Context, name, key string) (c *tenant.Caller, in context.Context, leave func(), err error) {
	id, known := a.familiar.id(name, key)
	if known {
		in, leave, err = a.shares.tenant(ctx, id)
	} else {
		in, leave, err = a.shares.stranger(ctx, network(lineOf(ctx).from), a.shares.logins)
	}
	if err != nil {
		return nil, ctx, nil, err
	}
	c, err = a.authenticate(in, name, key)
	if err == nil && known && c.ID == id {
		return c, in, leave, nil
	}
	leave()
	if err != nil {
		a.familiar.forget(name, key)
		return nil, ctx, nil, err
	}
	a.familiar.add(name, key, c.ID)
	in, leave, err = a.shares.tenant(ctx, c.ID)
	return c, in, leave, err
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
	for name, values := range e.headers {
		for _, v := range values {
			ctx.SetHeader(name, v)
		}
	}
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(e.Status)
	if err := huma.DefaultJSONFormat.Marshal(ctx.BodyWriter(), e.Problem); err != nil {
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
	if err != nil || !ok {
		return "", "", fault.Newf(fault.Unauthenticated, "Invalid authentication credentials")
	}
	return name, key, nil
}
