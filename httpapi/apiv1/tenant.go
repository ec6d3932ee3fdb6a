package apiv1

// A Tenant is who sessions belong to.
type Tenant struct {
	RetiredAt *Time `json:"retired_at" doc:"When the tenant was retired, null if active" nullable:"true"`
	Active    bool  `json:"active"`
	CreatedAt Time  `json:"created_at"`

	Name    string `json:"name" example:"systemd"`
	IsAdmin bool   `json:"is_admin" doc:"Whether the tenant administrates tenants and nodes"`
	SSHKey  string `json:"ssh_key" doc:"Lines of an authorized_keys file, masked except in the answer to the tenant's creation" example:"**********"`

	NodeQuota          *int     `json:"node_quota" doc:"Nodes the tenant may hold at a time, null for the default"`
	SessionLifetime    *Seconds `json:"session_lifetime" doc:"Seconds a session lives, null for the default"`
	SessionLifetimeMax *Seconds `json:"session_lifetime_max" doc:"Seconds a session can be extended to, null for the default"`

	ID int64 `json:"id"`

	EffectiveNodeQuota          int     `json:"effective_node_quota" doc:"Nodes the tenant may hold at a time" example:"10"`
	EffectiveSessionLifetime    Seconds `json:"effective_session_lifetime" doc:"Seconds a session lives" example:"21600.0"`
	EffectiveSessionLifetimeMax Seconds `json:"effective_session_lifetime_max" doc:"Seconds a session can be extended to" example:"43200.0"`

	// APIKey is absent unless the tenant was just created or updated. It is the
	// key if that is new, else masked, and null if the update only retired or
	// unretired the tenant.
	APIKey Optional[string] `json:"api_key,omitzero" doc:"The primary API key if it is new, else masked or null; absent in answers to GET"`
}

// A TenantCreate is the body of a request for a new tenant.
type TenantCreate struct {
	Name               string    `json:"name" minLength:"1" maxLength:"255" doc:"Printable characters, and no colon: it is the name to log in by" example:"systemd"`
	SSHKey             string    `json:"ssh_key" maxLength:"32768" doc:"Lines of an authorized_keys file"`
	IsAdmin            *Boolean  `json:"is_admin,omitempty" doc:"Whether the tenant administrates tenants and nodes"`
	NodeQuota          *Integer  `json:"node_quota,omitempty" minimum:"1" maximum:"2147483647" doc:"Nodes the tenant may hold at a time, the default if null"`
	SessionLifetime    *TimeSpec `json:"session_lifetime,omitempty" doc:"How long a session lives: seconds or a duration, the default if null"`
	SessionLifetimeMax *TimeSpec `json:"session_lifetime_max,omitempty" doc:"How long a session can be extended to: seconds or a duration, the default if null"`
}

// A TenantUpdate is the body of a request to change a tenant. What is absent
// stays as it is. Null puts quota and lifetimes back to their defaults.
//
// Active is taken into account only if it is alone.
type TenantUpdate struct {
	Active             Optional[Boolean]  `json:"active,omitzero" doc:"Retires the tenant, or makes it active again; ignored beside other fields"`
	SSHKey             Optional[string]   `json:"ssh_key,omitzero" doc:"Lines of an authorized_keys file"`
	APIKey             Optional[string]   `json:"api_key,omitzero" doc:"The primary API key: a UUID, or reset for a random one. Other keys of the tenant stay as they are"`
	NodeQuota          Optional[Integer]  `json:"node_quota,omitzero" doc:"Nodes the tenant may hold at a time, null for the default"`
	SessionLifetime    Optional[TimeSpec] `json:"session_lifetime,omitzero" doc:"How long a session lives: seconds or a duration, null for the default"`
	SessionLifetimeMax Optional[TimeSpec] `json:"session_lifetime_max,omitzero" doc:"How long a session can be extended to: seconds or a duration, null for the default"`
}

// A TenantResult is the answer about one tenant.
type TenantResult struct {
	Action Action `json:"action"`
	Tenant Tenant `json:"tenant"`
}

// A TenantsResult is the answer about all tenants that the caller may see.
type TenantsResult struct {
	Action  Action   `json:"action"`
	Tenants []Tenant `json:"tenants" nullable:"false"`
}
