package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// ListPools returns all pools that are kept filled, without their levels.
func (c *Client) ListPools(ctx context.Context) ([]apiv1.Pool, error) {
	var result apiv1.PoolsResult
	err := c.call(ctx, http.MethodGet, "/pools", nil, &result)
	return result.Pools, err
}

// GetPool returns a pool with its levels. A pool that is not kept filled is an
// *[Error] with status 422.
func (c *Client) GetPool(ctx context.Context, name string) (apiv1.Pool, error) {
	var result apiv1.PoolResult
	err := c.call(ctx, http.MethodGet, "/pools/"+url.PathEscape(name), nil, &result)
	return result.Pool, err
}
