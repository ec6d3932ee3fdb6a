package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// ListTenants returns the tenants that the tenant may see: itself, or all for
// administrators.
func (c *Client) ListTenants(ctx context.Context) ([]apiv1.Tenant, error) {
	var result apiv1.TenantsResult
	err := c.call(ctx, http.MethodGet, "/tenants", nil, &result)
	return result.Tenants, err
}

// GetTenant returns a tenant, active or retired.
func (c *Client) GetTenant(ctx context.Context, id int64) (apiv1.Tenant, error) {
	var result apiv1.TenantResult
	err := c.call(ctx, http.MethodGet, tenantPath(id), nil, &result)
	return result.Tenant, err
}

// CreateTenant makes a tenant, for administrators, and returns it with its API
// key, which the server does not tell again.
func (c *Client) CreateTenant(ctx context.Context, create apiv1.TenantCreate) (apiv1.Tenant, error) {
	var result apiv1.TenantResult
	err := c.call(ctx, http.MethodPost, "/tenants", create, &result)
	return result.Tenant, err
}

// UpdateTenant changes a tenant, for administrators, and returns it as it is
// then, with its API key if that was reset.
func (c *Client) UpdateTenant(ctx context.Context, id int64, update apiv1.TenantUpdate) (apiv1.Tenant, error) {
	var result apiv1.TenantResult
	err := c.call(ctx, http.MethodPut, tenantPath(id), update, &result)
	return result.Tenant, err
}

func tenantPath(id int64) string { return fmt.Sprintf("/tenants/%d", id) }
