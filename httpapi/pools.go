package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
)

func (a *api) pools(g huma.API) {
	tag := []string{"pools"}
	handle(a, g, anybody, huma.Operation{
		OperationID: "list-pools", Method: http.MethodGet, Path: "/pools", Tags: tag,
		Summary:     "List pools",
		Description: "Pools that are not kept filled are left out.",
	}, a.listPools)
	handle(a, g, anybody, huma.Operation{
		OperationID: "get-pool", Method: http.MethodGet, Path: "/pools/{name}", Tags: tag,
		Summary: "Get a pool, with how many of its nodes are in which state",
		Errors:  []int{http.StatusNotFound},
	}, a.getPool)
}

func (a *api) listPools(context.Context, *struct{}) (*output[apiv1.PoolsResult], error) {
	result := apiv1.PoolsResult{Action: apiv1.ActionGet, Pools: []apiv1.Pool{}}
	for _, c := range a.Pools.Pools().Concrete() {
		if c.FillLevel != nil {
			result.Pools = append(result.Pools, apiv1.Pool{Name: c.Name, FillLevel: *c.FillLevel})
		}
	}
	return answer(result), nil
}

type byName struct {
	Name string `path:"name" maxLength:"255"`
}

func (a *api) getPool(ctx context.Context, in *byName) (*output[apiv1.PoolResult], error) {
	c := a.Pools.Pools().Get(in.Name)
	switch {
	case c == nil:
		return nil, fault.Newf(fault.NotFound, "Not Found")
	case c.FillLevel == nil:
		return nil, fault.Newf(fault.Invalid, "Unprocessable Entity")
	}
	levels, err := a.Pools.Levels(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	return answer(apiv1.PoolResult{Action: apiv1.ActionGet, Pool: apiv1.Pool{
		Name: c.Name, FillLevel: *c.FillLevel, Levels: &apiv1.Levels{
			Provisioning:    levels[pool.Provisioning],
			Ready:           levels[pool.Ready],
			Contextualizing: levels[pool.Contextualizing],
			Deployed:        levels[pool.Deployed],
			Deprovisioning:  levels[pool.Deprovisioning],
		},
	}}), nil
}
