package apiv1

// A Node is a machine.
type Node struct {
	RetiredAt *Time `json:"retired_at" doc:"When the node was retired, null if active" nullable:"true"`
	Active    bool  `json:"active"`
	CreatedAt Time  `json:"created_at"`

	Hostname *string        `json:"hostname" example:"node-1.example.net"`
	IPAddr   *string        `json:"ipaddr" example:"192.0.2.1"`
	Comment  *string        `json:"comment"`
	Pool     *string        `json:"pool" example:"virtual-centos9s-small-x86_64"`
	Reusable bool           `json:"reusable" doc:"Whether the node is provisioned again after its use"`
	Data     map[string]any `json:"data" doc:"What Duffy and the backend know about the node"`

	ID    int64  `json:"id"`
	State string `json:"state" example:"ready"`
}

// A NodeCreate is the body of a request for a new node.
type NodeCreate struct {
	Hostname string         `json:"hostname" minLength:"1" maxLength:"253" example:"node-1.example.net"`
	IPAddr   string         `json:"ipaddr" maxLength:"64" doc:"IPv4 or IPv6 address" example:"192.0.2.1"`
	Comment  *string        `json:"comment,omitempty" maxLength:"32768" nullable:"true"`
	Pool     *string        `json:"pool,omitempty" maxLength:"255" doc:"Pool that the node belongs to" nullable:"true"`
	Reusable *Boolean       `json:"reusable,omitempty" doc:"Whether the node is provisioned again after its use, by default true"`
	Data     map[string]any `json:"data,omitempty" doc:"What a pool's reuse-nodes is compared with. A request has at most 64 levels of objects and lists"`
}

// A NodeResult is the answer about one node.
type NodeResult struct {
	Action Action `json:"action"`
	Node   Node   `json:"node"`
}

// A NodesResult is the answer about all nodes.
type NodesResult struct {
	Action Action `json:"action"`
	Nodes  []Node `json:"nodes" nullable:"false"`
}
