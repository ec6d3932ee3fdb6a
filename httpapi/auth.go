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

// authenticate is the huma middleware that finds out who calls operations that
// ask for it, and refuses read-only keys all operations but reading.
func (a *api) authenticate(ctx huma.Context, next func(huma.Context)) {
	security := ctx.Operation().Security
	if len(security) == 0 {
		next(ctx)
		return
	}
	header := ctx.Header("Authorization")
	if header == "" && len(security[0]) == 0 { // optional
		next(ctx)
		return
	}
	l := lineOf(ctx.Context())
	name, key, err := basicAuth(header)
	var c *tenant.Caller
	if err == nil {
		c, err = a.Tenants.AuthenticateFrom(ctx.Context(), l.from, name, key)
	}
	if err != nil {
		a.writeError(ctx, err)
		return
	}
	l.tenant = c.Name
	if c.ReadOnly() && !reads(ctx.Method()) {
		a.writeError(ctx, fault.Newf(fault.Forbidden, "Forbidden: the API key is read-only"))
		return
	}
	next(huma.WithValue(ctx, tenantKey{}, c.Tenant))
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
