package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/duration"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

func (a *api) tenants(g huma.API) {
	tag := []string{"tenants"}
	handle(a, g, tenants, listOperation[apiv1.TenantsResult](g, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/tenants", Tags: tag,
		Summary:     "List tenants",
		Description: "Who is no administrator sees itself only.",
	}), a.listTenants)
	handle(a, g, tenants, huma.Operation{
		OperationID: "get-tenant", Method: http.MethodGet, Path: "/tenants/{id}", Tags: tag,
		Summary:     "Get a tenant",
		Description: "A tenant that is no administrator can get itself only; the answer does not tell whether there are others.",
		Errors:      []int{http.StatusNotFound},
	}, a.getTenant)
	handle(a, g, tenants, huma.Operation{
		OperationID: "create-tenant", Method: http.MethodPost, Path: "/tenants", Tags: tag,
		Summary:       "Add a tenant",
		Description:   "For administrators. Only this answer shows the API key.",
		DefaultStatus: http.StatusCreated,
		Errors:        []int{http.StatusConflict},
	}, a.createTenant)
	handle(a, g, tenants, huma.Operation{
		OperationID: "update-tenant", Method: http.MethodPut, Path: "/tenants/{id}", Tags: tag,
		Summary:     "Change, retire or unretire a tenant",
		Description: "For administrators. Sessions of a retired tenant expire at once.",
		Errors:      []int{http.StatusNotFound},
	}, a.updateTenant)
}

func (a *api) listTenants(ctx context.Context, q *listQuery) (*listOutput, error) {
	by := caller(ctx)
	return a.list(ctx, q, "tenants", func(ctx context.Context, after int64, most int) ([]item, error) {
		var page []*tenant.Tenant
		var err error
		if by.IsAdmin {
			page, err = a.Tenants.Page(ctx, after, most)
		} else if by.ID > after {
			page = []*tenant.Tenant{by}
		}
		items := make([]item, len(page))
		for i, t := range page {
			items[i] = item{t.ID, a.tenant(t)}
		}
		return items, err
	})
}

func (a *api) getTenant(ctx context.Context, in *byID) (*output[apiv1.TenantResult], error) {
	if !caller(ctx).May(in.ID) { // before anything tells whether there is such a tenant
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	t, err := a.Tenants.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.TenantResult{Action: apiv1.ActionGet, Tenant: a.tenant(t)}), nil
}

type tenantCreate struct{ Body apiv1.TenantCreate }

func (a *api) createTenant(ctx context.Context, in *tenantCreate) (*output[apiv1.TenantResult], error) {
	if !caller(ctx).IsAdmin {
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	t := tenant.Tenant{
		Name: in.Body.Name, SSHKey: in.Body.SSHKey,
		IsAdmin:   in.Body.IsAdmin != nil && bool(*in.Body.IsAdmin),
		NodeQuota: quota(in.Body.NodeQuota),
	}
	var err error
	if t.SessionLifetime, err = lifetime("session_lifetime", in.Body.SessionLifetime); err != nil {
		return nil, err
	}
	if t.SessionLifetimeMax, err = lifetime("session_lifetime_max", in.Body.SessionLifetimeMax); err != nil {
		return nil, err
	}
	created, key, err := a.Tenants.Create(ctx, t)
	if err != nil {
		return nil, err
	}
	out := a.tenant(created)
	out.SSHKey, out.APIKey = created.SSHKey, apiv1.Some(key.String())
	return answer(apiv1.TenantResult{Action: apiv1.ActionPost, Tenant: out}), nil
}

type tenantUpdate struct {
	ID   int64 `path:"id"`
	Body apiv1.TenantUpdate
}

func (a *api) updateTenant(ctx context.Context, in *tenantUpdate) (*output[apiv1.TenantResult], error) {
	if !caller(ctx).IsAdmin { // before anything tells whether there is such a tenant
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	if _, err := a.Tenants.Get(ctx, in.ID); err != nil {
		return nil, err
	}
	b := in.Body
	if b.SSHKey.Set || b.APIKey.Set || b.NodeQuota.Set || b.SessionLifetime.Set || b.SessionLifetimeMax.Set {
		return a.changeTenant(ctx, in.ID, b)
	}
	if b.Active.Value == nil {
		return nil, fault.Newf(fault.Invalid,
			"one of ssh_key, api_key, node_quota, session_lifetime, session_lifetime_max, active is required")
	}
	retire := a.Sessions.RetireTenant
	if *b.Active.Value {
		retire = a.Tenants.Unretire
	}
	t, err := retire(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := a.tenant(t)
	out.APIKey = apiv1.Null[string]()
	return answer(apiv1.TenantResult{Action: apiv1.ActionPut, Tenant: out}), nil
}

func (a *api) changeTenant(ctx context.Context, id int64, b apiv1.TenantUpdate) (*output[apiv1.TenantResult], error) {
	u, err := tenantChange(b)
	if err != nil {
		return nil, err
	}
	t, newKey, err := a.Tenants.Update(ctx, id, u)
	if err != nil {
		return nil, err
	}
	out := a.tenant(t)
	out.APIKey = apiv1.Some(apiv1.Masked)
	if newKey != nil {
		out.APIKey = apiv1.Some(newKey.String())
	}
	return answer(apiv1.TenantResult{Action: apiv1.ActionPut, Tenant: out}), nil
}

func tenantChange(b apiv1.TenantUpdate) (u tenant.Update, err error) {
	u.SSHKey = b.SSHKey.Value
	if key := b.APIKey.Value; key != nil {
		if *key == "reset" {
			u.ResetAPIKey = true
		} else {
			id, err := uuid.Parse(*key)
			if err != nil {
				return u, fault.Newf(fault.Invalid, `body.api_key: expected a UUID or "reset"`)
			}
			u.APIKey = &id
		}
	}
	if b.NodeQuota.Set {
		q := quota(b.NodeQuota.Value)
		u.NodeQuota = &q
	}
	if b.SessionLifetime.Set {
		l, err := lifetime("session_lifetime", b.SessionLifetime.Value)
		if err != nil {
			return u, err
		}
		u.SessionLifetime = &l
	}
	if b.SessionLifetimeMax.Set {
		l, err := lifetime("session_lifetime_max", b.SessionLifetimeMax.Value)
		if err != nil {
			return u, err
		}
		u.SessionLifetimeMax = &l
	}
	return u, nil
}

func quota(n *apiv1.Integer) *int {
	if n == nil {
		return nil
	}
	q := int(min(max(*n, 0), math.MaxInt)) // an int may be of 32 bits
	return &q
}

func lifetime(field string, spec *apiv1.TimeSpec) (*tenant.Interval, error) {
	if spec == nil {
		return nil, nil
	}
	d, err := duration.Parse(string(*spec))
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "body.%s: %v", field, err)
	}
	return (*tenant.Interval)(&d), nil
}

func (a *api) tenant(t *tenant.Tenant) apiv1.Tenant {
	limits := a.Tenants.Limits(t)
	return apiv1.Tenant{
		RetiredAt: timeOf(t.RetiredAt), Active: t.Active(), CreatedAt: apiv1.Time{Time: t.CreatedAt},
		Name: t.Name, IsAdmin: t.IsAdmin, SSHKey: apiv1.Masked, ID: t.ID,
		NodeQuota:                   t.NodeQuota,
		SessionLifetime:             secondsOf(t.SessionLifetime),
		SessionLifetimeMax:          secondsOf(t.SessionLifetimeMax),
		EffectiveNodeQuota:          limits.NodeQuota,
		EffectiveSessionLifetime:    apiv1.SecondsOf(limits.SessionLifetime),
		EffectiveSessionLifetimeMax: apiv1.SecondsOf(limits.SessionLifetimeMax),
	}
}

func secondsOf(i *tenant.Interval) *apiv1.Seconds {
	if i == nil {
		return nil
	}
	s := apiv1.Seconds(time.Duration(*i).Seconds())
	return &s
}
