package tenant

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

// A Caller is a tenant that has logged in, with one of its keys.
type Caller struct {
	*Tenant
	Key *Key
}

// ReadOnly reports whether the caller's key allows reading only, whatever its
// tenant may do.
func (c *Caller) ReadOnly() bool { return c.Key.Scope != Full }

// Authenticate returns the active tenant called name one of whose API keys is
// key. An unknown tenant and a wrong, expired or retired key are the same
// fault.Unauthenticated after the same time; a retired tenant with a right key is
// a fault.Forbidden. A program that changes anything for a caller asks
// [Caller.ReadOnly] first.
func (s *Service) Authenticate(ctx context.Context, name, key string) (*Caller, error) {
	return s.AuthenticateFrom(ctx, netip.Addr{}, name, key)
}

// AuthenticateFrom is Authenticate for a caller at an address, from which only so
// many logins may fail: a fault.TooMany says how long to wait, and a key that may be
// guessed has not been looked at then. Random keys, and credentials that were right
// within the last ten minutes, go on working: one broken script does not shut out
// the others behind its address. The zero address is not limited. Keys that take time to check wait
// for their turn, for at most half a minute: fault.Unavailable.
func (s *Service) AuthenticateFrom(ctx context.Context, from netip.Addr, name, key string) (*Caller, error) {
	t, keys, err := s.credentials(ctx, name)
	if err != nil {
		return nil, err
	}
	right, err := s.verifier.verify(ctx, newLogin(from, name), keys, key)
	switch {
	case err != nil:
		return nil, err
	case t == nil || right == nil:
		return nil, fault.Newf(fault.Unauthenticated, "Unauthorized")
	case !t.Active():
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	s.uses.note(t, right, key)
	return &Caller{t, right}, nil
}

// Confirm returns c as it is now: for a request that was authenticated a while ago. It
// is a fault.Unauthenticated if the key has been changed or retired or has expired
// since, and a fault.Forbidden if the tenant has been retired.
func (s *Service) Confirm(ctx context.Context, c *Caller) (*Caller, error) {
	t, keys, err := s.credentials(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		switch {
		case t == nil || t.ID != c.ID || k.stored() != c.Key.stored():
		case !t.Active():
			return nil, fault.Newf(fault.Forbidden, "Forbidden")
		default:
			return &Caller{t, k}, nil
		}
	}
	return nil, fault.Newf(fault.Unauthenticated, "Unauthorized")
}

// selectCredentials finds a tenant and its keys that are neither expired nor
// retired: a row for each key, or one row without a key.
const selectCredentials = `SELECT t.id AS t__id, t.name AS t__name, t.is_admin AS t__is_admin,
t.ssh_key AS t__ssh_key, t.api_key AS t__api_key, t.node_quota AS t__node_quota,
t.session_lifetime AS t__session_lifetime, t.session_lifetime_max AS t__session_lifetime_max,
t.created_at AS t__created_at, t.retired_at AS t__retired_at,
k.id AS k__id, k.name AS k__name, k.stands_for AS k__stands_for, k.salt AS k__salt, k.hash AS k__hash,
k.scope AS k__scope, k.last_used_at AS k__last_used_at
FROM tenants AS t LEFT JOIN api_keys AS k ON k.tenant_id = t.id AND k.retired_at IS NULL
AND (k.expires_at IS NULL OR k.expires_at > ?) WHERE t.name = ? ORDER BY k.id`

// credentials returns the tenant called name, or nil, and the keys that a login
// is checked against: the primary key first. An unknown tenant has noKey for one.
func (s *Service) credentials(ctx context.Context, name string) (*Tenant, []*Key, error) {
	var rows []struct {
		Tenant Tenant `bun:"embed:t__"`
		Key    Key    `bun:"embed:k__"`
	}
	err := db.Select(ctx, s.db, &rows, selectCredentials, s.now(), name)
	if err != nil && !db.Unstorable(err) { // nobody has a name that cannot be stored
		return nil, nil, err
	}
	if len(rows) == 0 {
		return nil, []*Key{{Name: PrimaryKey, StandsFor: &s.noKey}}, nil
	}
	t := &rows[0].Tenant
	var keys []*Key
	for i := range rows {
		if k := &rows[i].Key; k.ID != 0 {
			k.TenantID = t.ID
			keys = append(keys, k)
		}
	}
	return t, t.keys(keys), nil
}

// noKey returns a hash that stands in for that of an unknown tenant, and takes as
// long to check. No known key matches it.
func noKey(cost int) string {
	return fmt.Sprintf("$2a$%02d$8Wft9o.Tw67UjX0dbK19eer93knb0ugCBHDkJ1KTmdZtaz/YvGuTC", cost)
}
