package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// ListNodes returns all active nodes, with the data of those that the tenant may see.
func (c *Client) ListNodes(ctx context.Context) ([]apiv1.Node, error) {
	var result apiv1.NodesResult
	err := c.call(ctx, http.MethodGet, "/nodes", nil, &result)
	return result.Nodes, err
}

// GetNode returns a node, active or retired.
func (c *Client) GetNode(ctx context.Context, id int64) (apiv1.Node, error) {
	var result apiv1.NodeResult
	err := c.call(ctx, http.MethodGet, fmt.Sprintf("/nodes/%d", id), nil, &result)
	return result.Node, err
}

// CreateNode makes a node known, for administrators. An active node with the
// same address is an *[Error] with status 409.
func (c *Client) CreateNode(ctx context.Context, create apiv1.NodeCreate) (apiv1.Node, error) {
	var result apiv1.NodeResult
	err := c.call(ctx, http.MethodPost, "/nodes", create, &result)
	return result.Node, err
}
