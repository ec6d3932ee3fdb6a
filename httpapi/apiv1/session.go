package apiv1

// A Session is the use of nodes by a tenant for a time.
type Session struct {
	RetiredAt *Time `json:"retired_at" doc:"When the session was retired, null if active" nullable:"true"`
	Active    bool  `json:"active"`
	CreatedAt Time  `json:"created_at"`

	ID        int64          `json:"id"`
	ExpiresAt *Time          `json:"expires_at" doc:"When the session retires by itself" nullable:"true"`
	Tenant    Tenant         `json:"tenant"`
	Data      map[string]any `json:"data" doc:"What was asked for, in nodes_specs"`
	Nodes     []SessionNode  `json:"nodes" nullable:"false"`
}

// A SessionNode is a node as it is, or was, part of a session.
type SessionNode struct {
	Hostname *string        `json:"hostname" example:"node-1.example.net"`
	IPAddr   *string        `json:"ipaddr" example:"192.0.2.1"`
	Comment  *string        `json:"comment"`
	Pool     *string        `json:"pool" example:"virtual-centos9s-small-x86_64"`
	Reusable bool           `json:"reusable"`
	Data     map[string]any `json:"data" doc:"What provisioning the node told about it, in provision, and which part of the request it fulfils, in nodes_spec"`

	ID    int64   `json:"id"`
	State *string `json:"state" doc:"State of the node, null in a retired session" example:"deployed"`
}

// A NodesSpec asks for Quantity nodes of a pool.
type NodesSpec struct {
	Quantity Integer `json:"quantity" minimum:"1" maximum:"10000" doc:"How many nodes; all together at most 10000"`
	Pool     string  `json:"pool" maxLength:"255" example:"virtual-centos9s-small-x86_64"`
}

// A SessionCreate is the body of a request for a session.
type SessionCreate struct {
	TenantID   *Integer    `json:"tenant_id,omitempty" minimum:"1" maximum:"2147483647" doc:"Whose session it becomes, for administrators; by default the caller's"`
	NodesSpecs []NodesSpec `json:"nodes_specs" doc:"Which nodes, all or none" nullable:"false" maxItems:"100"`
}

// A SessionUpdate is the body of a request to change a session. What is nil
// stays as it is.
type SessionUpdate struct {
	Active    *Boolean  `json:"active,omitempty" doc:"Retires the session if false"`
	ExpiresAt *TimeSpec `json:"expires_at,omitempty" doc:"When the session retires by itself: a time, in UTC if it has no offset, or a signed duration relative to the present expiry"`
}

// A SessionResult is the answer about one session.
type SessionResult struct {
	Action  Action  `json:"action"`
	Session Session `json:"session"`
}

// A SessionsResult is the answer about all active sessions that the caller may
// see.
type SessionsResult struct {
	Action   Action    `json:"action"`
	Sessions []Session `json:"sessions" nullable:"false"`
}
