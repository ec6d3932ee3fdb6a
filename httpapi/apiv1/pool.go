package apiv1

// A Pool is where nodes of one kind are kept ready. Released clients refuse a
// pool with any other key than these, so it can have no more fields.
type Pool struct {
	_ struct{} `json:"-" additionalProperties:"false"`

	Name      string  `json:"name" example:"virtual-centos9s-small-x86_64"`
	FillLevel int     `json:"fill-level" doc:"How many nodes are kept ready" example:"10"`
	Levels    *Levels `json:"levels,omitempty" doc:"How many nodes are in which state; absent in the list of all pools"`
}

// Levels counts a pool's nodes by state.
type Levels struct {
	Provisioning    int `json:"provisioning"`
	Ready           int `json:"ready"`
	Contextualizing int `json:"contextualizing"`
	Deployed        int `json:"deployed"`
	Deprovisioning  int `json:"deprovisioning"`
}

// A PoolResult is the answer about one pool.
type PoolResult struct {
	Action Action `json:"action"`
	Pool   Pool   `json:"pool"`
}

// A PoolsResult is the answer about all pools.
type PoolsResult struct {
	Action Action `json:"action"`
	Pools  []Pool `json:"pools" nullable:"false"`
}
