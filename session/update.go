package session

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/tenant"
)

// An Update says what to change of a session. The zero value changes nothing.
type Update struct {
	Retire bool

	// ExpiresAt sets the expiry, ExpiresIn moves it. Either is clamped between the
	// session's creation and its tenant's longest lifetime, to which
	// administrators are not bound. Time that the session has already is never
	// taken away by asking for more.
	ExpiresAt *time.Time
	ExpiresIn *time.Duration
}

// Update changes the session with id and returns it. A retired session cannot be
// changed, and no session expires after the year 9999: fault.Invalid.
func (s *Service) Update(ctx context.Context, by *tenant.Tenant, id int64, u Update) (*Session, error) {
	var ses *Session
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) (err error) {
		if ses, err = s.lockTx(ctx, tx, by, id); err != nil {
			return err
		}
		if !ses.Active() {
			return fault.Newf(fault.Invalid, "session %d is retired", id)
		}
		if u.ExpiresAt != nil || u.ExpiresIn != nil {
			if err := s.setExpiryTx(ctx, tx, ses, s.newExpiry(by, ses, u)); err != nil {
				return err
			}
		}
		if u.Retire {
			if err := s.retireTx(ctx, tx, ses); err != nil {
				return err
			}
		}
		return s.loadNodes(ctx, tx, ses)
	})
	return ses, err
}

// endOfTime is the last time that ISO 8601 and Duffy 3 can write.
var endOfTime = time.Date(9999, time.December, 31, 23, 59, 59, 999999000, time.UTC)

// newExpiry returns when a session expires by u, nil for never.
func (s *Service) newExpiry(by *tenant.Tenant, ses *Session, u Update) *time.Time {
	var at time.Time
	switch {
	case u.ExpiresAt != nil:
		at = u.ExpiresAt.UTC()
	case ses.ExpiresAt != nil:
		at = ses.ExpiresAt.Add(*u.ExpiresIn)
	case *u.ExpiresIn >= 0:
		return nil // some sessions of Duffy 3 never expire
	default:
		at = s.now().Add(*u.ExpiresIn)
	}
	if at.Before(ses.CreatedAt) {
		at = ses.CreatedAt
	}
	if latest := s.latestExpiry(ses); !by.IsAdmin && at.After(latest) {
		at = latest
	}
	return &at
}

// latestExpiry returns what a tenant can extend its session to. An administrator may
// have given it more than its lifetime allows, or have lowered that.
func (s *Service) latestExpiry(ses *Session) time.Time {
	latest := ses.CreatedAt.Add(s.tenants.Limits(ses.Tenant).SessionLifetimeMax)
	if ses.ExpiresAt != nil && ses.ExpiresAt.After(latest) {
		return *ses.ExpiresAt
	}
	return latest
}

func (s *Service) setExpiryTx(ctx context.Context, tx bun.Tx, ses *Session, at *time.Time) error {
	if at == nil {
		return nil
	}
	if at.After(endOfTime) {
		return fault.Newf(fault.Invalid, "expires_at: ensure this value is before the year 10000")
	}
	ses.ExpiresAt = at
	if _, err := tx.NewUpdate().Model(ses).WherePK().Column("expires_at").Exec(ctx); err != nil {
		return err
	}
	return s.queue.Insert(ctx, tx, expireJob{ses.ID, *at})
}

// retireTx ends a session whose row is locked, and takes back its nodes. Nodes
// that are being contextualized are taken back by the request that does that.
func (s *Service) retireTx(ctx context.Context, tx bun.Tx, ses *Session, states ...pool.State) error {
	now := s.now()
	ses.RetiredAt = &now
	if _, err := tx.NewUpdate().Model(ses).WherePK().Column("retired_at").Exec(ctx); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "session retired", "session", ses.ID, "tenant", ses.Tenant.Name)
	return s.pools.ReclaimTx(ctx, tx, ses.ID, append(states, pool.Deployed)...)
}

// RetireTenant retires a tenant and has its sessions expire now.
func (s *Service) RetireTenant(ctx context.Context, id int64) (t *tenant.Tenant, err error) {
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if t, err = s.tenants.RetireTx(ctx, tx, id); err != nil {
			return err
		}
		now := s.now()
		var ids []int64
		_, err := tx.NewUpdate().Model((*Session)(nil)).
			Set("expires_at = ?", now).
			Where("tenant_id = ?", id).Where("retired_at IS NULL").
			Returning("id").Exec(ctx, &ids)
		if err != nil {
			return err
		}
		jobs := make([]queue.Job, len(ids))
		for i, id := range ids {
			jobs[i] = expireJob{id, now}
		}
		return s.queue.Insert(ctx, tx, jobs...)
	})
	return t, err
}
