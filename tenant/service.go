package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"golang.org/x/crypto/bcrypt"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
)

// DefaultBcryptCost is Duffy 3's.
const DefaultBcryptCost = 12

// Config configures a [Service]. The zero value is usable.
type Config struct {
	Defaults   Limits // zero fields mean the package's defaults
	BcryptCost int    // of new API keys, DefaultBcryptCost if zero
	Logger     *slog.Logger
	Now        func() time.Time
}

// Service keeps tenants. It is safe for concurrent use, also by other processes
// on the same database.
type Service struct {
	db       *bun.DB
	cfg      Config
	verifier *verifier
	uses     *uses
	noKey    string
}

// New returns the tenants in db.
func New(db *bun.DB, cfg Config) *Service {
	cfg.Defaults = cfg.Defaults.withDefaults()
	if cfg.BcryptCost == 0 {
		cfg.BcryptCost = DefaultBcryptCost
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{db: db, cfg: cfg, verifier: newVerifier(cfg.Now), noKey: noKey(cfg.BcryptCost)}
	s.uses = newUses(db, cfg.Logger, s.now)
	return s
}

// Limits returns the limits in effect for t.
func (s *Service) Limits(t *Tenant) Limits { return s.cfg.Defaults.Of(t) }

// List returns all tenants, retired ones too, in the order of their IDs.
func (s *Service) List(ctx context.Context) ([]*Tenant, error) { return s.Page(ctx, 0, 0) }

// Page returns those of List whose ids are above after, and the first most of
// them; 0 is all of them.
func (s *Service) Page(ctx context.Context, after int64, most int) ([]*Tenant, error) {
	var ts []*Tenant
	err := s.db.NewSelect().Model(&ts).Where("id > ?", after).Order("id").Limit(int64(most)).Scan(ctx)
	return ts, err
}

// Get returns the tenant with id, or a fault.NotFound.
func (s *Service) Get(ctx context.Context, id int64) (*Tenant, error) {
	return s.GetTx(ctx, s.db, id)
}

// GetTx is Get in a transaction, or outside of one.
func (s *Service) GetTx(ctx context.Context, d bun.IDB, id int64) (*Tenant, error) {
	return find(ctx, d, selectByID, id)
}

// GetByName returns the tenant called name, or a fault.NotFound.
func (s *Service) GetByName(ctx context.Context, name string) (*Tenant, error) {
	return find(ctx, s.db, selectTenant+"name = ?", name)
}

// LockTx returns the tenant with id, or a fault.NotFound, and keeps others from
// changing or locking it until tx ends. On SQLite the transaction itself does.
func (s *Service) LockTx(ctx context.Context, tx bun.Tx, id int64) (*Tenant, error) {
	query := selectByID
	if tx.Dialect().Name() == dialect.PG {
		query += " FOR NO KEY UPDATE"
	}
	return find(ctx, tx, query, id)
}

// selectTenant names columns, so that a statement that is kept prepared outlives
// the addition of others.
const selectTenant = `SELECT id, name, is_admin, ssh_key, api_key, node_quota,
session_lifetime, session_lifetime_max, created_at, retired_at FROM tenants WHERE `

// selectByID widens the id, which a caller makes up, since PostgreSQL's drivers
// refuse one that the column cannot hold.
const selectByID = selectTenant + "id = CAST(? AS bigint)"

func find(ctx context.Context, d bun.IDB, query string, arg any) (*Tenant, error) {
	t := new(Tenant)
	err := db.SelectOne(ctx, d, t, query, arg)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.Newf(fault.NotFound, "Not Found")
	}
	return t, err
}

// Create adds an active tenant and returns it with its API key, which is stored
// nowhere in the clear. Of t the name, the ssh key, IsAdmin and the limits
// count. A name that is taken is a fault.Conflict; as for the ssh key, see
// [CheckSSHKey].
func (s *Service) Create(ctx context.Context, t Tenant) (*Tenant, uuid.UUID, error) {
	key := uuid.New()
	created, primary, err := s.prepare(t, key.String())
	if err != nil {
		return nil, key, err
	}
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return insert(ctx, tx, created, primary) })
	if err != nil {
		return nil, key, err
	}
	return created, key, nil
}

// prepare returns t and its primary key as they are inserted.
func (s *Service) prepare(t Tenant, key string) (*Tenant, *Key, error) {
	if err := checkName(t.Name); err != nil {
		return nil, nil, err
	}
	if err := checkQuota(t.NodeQuota); err != nil {
		return nil, nil, err
	}
	if err := s.checkSSHKey(t.Name, t.SSHKey); err != nil {
		return nil, nil, err
	}
	hash, err := s.hash(key)
	if err != nil {
		return nil, nil, err
	}
	t.ID, t.APIKeyHash, t.CreatedAt, t.RetiredAt = 0, hash, s.now(), nil
	primary := t.primary(key)
	primary.CreatedAt = &t.CreatedAt
	return &t, primary, nil
}

func insert(ctx context.Context, tx bun.Tx, t *Tenant, primary *Key) error {
	_, err := tx.NewInsert().Model(t).Returning("id").Exec(ctx)
	if _, taken := db.UniqueViolation(err); taken {
		return fault.Wrap(fault.Conflict, err, fmt.Sprintf("tenant '%s' exists already", t.Name))
	}
	if err != nil {
		return err
	}
	primary.TenantID = t.ID
	return savePrimary(ctx, tx, primary)
}

// checkQuota refuses a node quota that the column cannot hold, or nobody can use.
func checkQuota(quota *int) error {
	switch {
	case quota == nil:
		return nil
	case *quota <= 0:
		return fault.Newf(fault.Invalid, "node_quota: ensure this value is greater than 0")
	case *quota > math.MaxInt32:
		return fault.Newf(fault.Invalid, "node_quota: ensure this value is less than or equal to %d", math.MaxInt32)
	}
	return nil
}

// An Update says what to change of a tenant. What is nil stays as it is; a
// pointer to nil brings back the default.
type Update struct {
	SSHKey             *string
	IsAdmin            *bool
	APIKey             *uuid.UUID // the primary key; others stay as they are
	ResetAPIKey        bool       // a new random primary key
	NodeQuota          **int
	SessionLifetime    **Interval
	SessionLifetimeMax **Interval
}

// Update changes the tenant with id, and returns it with the new API key if
// that was reset. A retired tenant cannot be changed: fault.Invalid.
func (s *Service) Update(ctx context.Context, id int64, u Update) (t *Tenant, newKey *uuid.UUID, err error) {
	if u.NodeQuota != nil {
		if err := checkQuota(*u.NodeQuota); err != nil {
			return nil, nil, err
		}
	}
	key := u.APIKey
	if u.ResetAPIKey {
		random := uuid.New()
		key, newKey = &random, &random
	}
	var hash string
	if key != nil {
		if hash, err = s.hash(key.String()); err != nil {
			return nil, nil, err
		}
	}
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if t, err = s.LockTx(ctx, tx, id); err != nil {
			return err
		}
		if !t.Active() {
			return errRetired(t)
		}
		if u.SSHKey != nil && *u.SSHKey != "" {
			if err := s.checkSSHKey(t.Name, *u.SSHKey); err != nil {
				return err
			}
			t.SSHKey = *u.SSHKey
		}
		if u.IsAdmin != nil {
			t.IsAdmin = *u.IsAdmin
		}
		if hash != "" {
			t.APIKeyHash = hash
		}
		if u.NodeQuota != nil {
			t.NodeQuota = *u.NodeQuota
		}
		if u.SessionLifetime != nil {
			t.SessionLifetime = *u.SessionLifetime
		}
		if u.SessionLifetimeMax != nil {
			t.SessionLifetimeMax = *u.SessionLifetimeMax
		}
		_, err := tx.NewUpdate().Model(t).WherePK().
			Column("ssh_key", "is_admin", "api_key", "node_quota", "session_lifetime", "session_lifetime_max").Exec(ctx)
		if err != nil || key == nil {
			return err
		}
		now, primary := s.now(), t.primary(key.String())
		primary.CreatedAt = &now
		return savePrimary(ctx, tx, primary)
	})
	return t, newKey, err
}

// RetireTx retires the tenant with id; its sessions are the caller's to end. A
// tenant that is retired already is a fault.Invalid.
func (s *Service) RetireTx(ctx context.Context, tx bun.Tx, id int64) (*Tenant, error) {
	t, err := s.LockTx(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if !t.Active() {
		return nil, errRetired(t)
	}
	now := s.now()
	t.RetiredAt = &now
	_, err = tx.NewUpdate().Model(t).WherePK().Column("retired_at").Exec(ctx)
	return t, err
}

// Unretire makes the tenant with id active again. Doing it twice is harmless.
func (s *Service) Unretire(ctx context.Context, id int64) (*Tenant, error) {
	t, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	t.RetiredAt = nil
	_, err = s.db.NewUpdate().Model(t).WherePK().Column("retired_at").Exec(ctx)
	return t, err
}

func errRetired(t *Tenant) error {
	return fault.Newf(fault.Invalid, "tenant %s (id=%d) is retired", t.Name, t.ID)
}

// checkSSHKey has the log tell what Duffy 3 took without a word.
func (s *Service) checkSSHKey(name, text string) error {
	err := CheckSSHKey(text)
	if err == nil && !letsIn(text) {
		s.cfg.Logger.Info("there is no public key in the tenant's ssh key: it lets nobody in", "tenant", name)
	}
	return err
}

func (s *Service) hash(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	h, err := bcrypt.GenerateFromPassword([]byte(key), s.cfg.BcryptCost)
	return string(h), err
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }
