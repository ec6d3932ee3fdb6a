package session

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/pool"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/tenant"
)

// Config configures a [Service]. The zero value is usable where no sessions are
// requested; for that a Contextualizer is needed.
type Config struct {
	Contextualizer backend.Contextualizer

	// RequestTimeout limits a request, during which nodes that do not answer are
	// replaced by others; NodeTimeout limits the attempt at one node. Zero means
	// the defaults.
	RequestTimeout time.Duration
	NodeTimeout    time.Duration

	Logger *slog.Logger
	Now    func() time.Time
}

// Defaults of [Config].
const (
	DefaultRequestTimeout = 60 * time.Second
	DefaultNodeTimeout    = 20 * time.Second
)

// Service hands out sessions. It is safe for concurrent use, also by other
// processes on the same database.
//
// Methods that take an acting tenant let administrators do anything, and others
// only what concerns their own sessions.
type Service struct {
	db      *bun.DB
	queue   queue.Inserter
	tenants *tenant.Service
	pools   *pool.Service
	cfg     Config
	log     *slog.Logger
}

// New returns the sessions in db, of tenants, with nodes of pools. Background
// work goes to queue.
func New(db *bun.DB, queue queue.Inserter, tenants *tenant.Service, pools *pool.Service, cfg Config) *Service {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.NodeTimeout == 0 {
		cfg.NodeTimeout = DefaultNodeTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{db, queue, tenants, pools, cfg, cfg.Logger}
}

// List returns the active sessions that the acting tenant may see, oldest
// first. nil stands for somebody who did not log in and sees all of them.
func (s *Service) List(ctx context.Context, by *tenant.Tenant) ([]*Session, error) {
	var sessions []*Session
	q := s.db.NewSelect().Model(&sessions).Relation("Tenant").Where("s.retired_at IS NULL").Order("s.id")
	if by != nil && !by.IsAdmin {
		q = q.Where("s.tenant_id = ?", by.ID)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return sessions, s.loadNodes(ctx, s.db, sessions...)
}

// Get returns the session with id. It is a fault.NotFound if there is none and a
// fault.Forbidden if it is somebody else's.
func (s *Service) Get(ctx context.Context, by *tenant.Tenant, id int64) (*Session, error) {
	ses, err := find(ctx, s.db.NewSelect(), by, id)
	if err != nil {
		return nil, err
	}
	return ses, s.loadNodes(ctx, s.db, ses)
}

func find(ctx context.Context, q *bun.SelectQuery, by *tenant.Tenant, id int64) (*Session, error) {
	ses := &Session{ID: id}
	err := q.Model(ses).Relation("Tenant").WherePK().Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fault.Newf(fault.NotFound, "Not Found")
	case err != nil:
		return nil, err
	case !by.May(ses.TenantID):
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	return ses, nil
}

// lockTx is find that keeps others from changing the session until tx ends.
func lockTx(ctx context.Context, tx bun.Tx, by *tenant.Tenant, id int64) (*Session, error) {
	q := tx.NewSelect()
	if tx.Dialect().Name() == dialect.PG {
		q = q.For("UPDATE OF s")
	}
	return find(ctx, q, by, id)
}

func (s *Service) loadNodes(ctx context.Context, db bun.IDB, sessions ...*Session) error {
	if len(sessions) == 0 {
		return nil
	}
	byID := make(map[int64]*Session, len(sessions))
	ids := make([]int64, len(sessions))
	for i, ses := range sessions {
		ids[i], byID[ses.ID] = ses.ID, ses
	}
	var rows []struct {
		pool.Node `bun:",extend"`

		Held     int64
		HeldPool string
		HeldData pool.Data `bun:"type:json"`
	}
	err := db.NewSelect().Model(&rows).ColumnExpr("n.*").
		ColumnExpr("sn.session_id AS held, sn.pool AS held_pool, sn.data AS held_data").
		Join("JOIN sessions_nodes AS sn ON sn.node_id = n.id").
		Where("sn.session_id IN (?)", bun.List(ids)).Scan(ctx)
	if err != nil {
		return err
	}
	for i := range rows {
		ses, n := byID[rows[i].Held], &rows[i].Node
		n.Pool = rows[i].HeldPool
		if !ses.Active() {
			n.Data = rows[i].HeldData
		}
		ses.Nodes = append(ses.Nodes, n)
	}
	for _, ses := range sessions {
		ses.sortNodes()
	}
	return nil
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }
