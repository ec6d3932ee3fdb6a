// Package tenant knows who may use Duffy: tenants, their keys and their limits.
//
// It works on Duffy 3's table tenants, in which a bcrypt hash of each tenant's
// primary API key stays, so that keys that Duffy 3 made are valid and those made
// here are valid for Duffy 3. The table api_keys has what Duffy 3 does not know:
// other keys, and hashes that take less time.
package tenant

import (
	"time"

	"github.com/uptrace/bun"
)

// A Tenant is somebody who requests sessions.
type Tenant struct {
	bun.BaseModel `bun:"table:tenants,alias:t"`

	ID         int64 `bun:",pk,autoincrement"`
	Name       string
	IsAdmin    bool
	SSHKey     string // lines for an authorized_keys file
	APIKeyHash string `bun:"api_key"` // bcrypt, of the primary key

	// nil means that the default applies, see Limits.
	NodeQuota          *int
	SessionLifetime    *Interval
	SessionLifetimeMax *Interval

	CreatedAt time.Time  `bun:",nullzero,default:current_timestamp"`
	RetiredAt *time.Time // nil while the tenant is active
}

// Active tells whether the tenant may use Duffy.
func (t *Tenant) Active() bool { return t.RetiredAt == nil }

// May tells whether t may see and change what belongs to the tenant with id.
func (t *Tenant) May(id int64) bool { return t.IsAdmin || t.ID == id }

// Limits bound what a tenant may use.
type Limits struct {
	NodeQuota          int           // nodes in active sessions; administrators have none
	SessionQuota       int           // active sessions, with nodes or without; administrators have none
	SessionLifetime    time.Duration // of a new session
	SessionLifetimeMax time.Duration // from a session's creation; administrators have none
}

// The limits of Duffy 3's example configuration, which a zero [Limits] gets.
const (
	DefaultNodeQuota          = 10
	DefaultSessionQuota       = 100 // Duffy 3 had none
	DefaultSessionLifetime    = 6 * time.Hour
	DefaultSessionLifetimeMax = 12 * time.Hour
)

func (l Limits) withDefaults() Limits {
	if l.NodeQuota == 0 {
		l.NodeQuota = DefaultNodeQuota
	}
	if l.SessionQuota == 0 {
		l.SessionQuota = DefaultSessionQuota
	}
	if l.SessionLifetime == 0 {
		l.SessionLifetime = DefaultSessionLifetime
	}
	if l.SessionLifetimeMax == 0 {
		l.SessionLifetimeMax = DefaultSessionLifetimeMax
	}
	return l
}

// Of returns the limits in effect for t: its own, else those of l. The session
// quota is at least the node quota, so that every node can be in a session of its
// own.
func (l Limits) Of(t *Tenant) Limits {
	if t.NodeQuota != nil {
		l.NodeQuota = *t.NodeQuota
	}
	l.SessionQuota = max(l.SessionQuota, l.NodeQuota)
	if t.SessionLifetime != nil {
		l.SessionLifetime = time.Duration(*t.SessionLifetime)
	}
	if t.SessionLifetimeMax != nil {
		l.SessionLifetimeMax = time.Duration(*t.SessionLifetimeMax)
	}
	return l
}
