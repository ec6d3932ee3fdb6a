package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/internal/foreign/seam"
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

	Metrics prometheus.Registerer // gets counts of what this process does, nil keeps none
	Logger  *slog.Logger
	Now     func() time.Time
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
	metrics *metrics

	contextualizer backend.Contextualizer // as it is in the configuration
	reach          *reach
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
	s := &Service{
		db: db, queue: queue, tenants: tenants, pools: pools, log: cfg.Logger,
		metrics:        newMetrics(cfg.Metrics, pools.Pools()),
		contextualizer: cfg.Contextualizer, reach: newReach(cfg.Now, cfg.Logger),
	}
	cfg.Contextualizer = seam.Contextualizer(cfg.Contextualizer)
	s.cfg = cfg
	return s
}

// List returns the active sessions that the acting tenant may see, oldest
// first. nil stands for somebody who did not log in and sees all of them.
func (s *Service) List(ctx context.Context, by *tenant.Tenant) ([]*Session, error) {
	return s.Page(ctx, by, 0, 0)
}

// Page returns those of List whose ids are above after, and the first most of
// them; 0 is all of them.
func (s *Service) Page(ctx context.Context, by *tenant.Tenant, after int64, most int) ([]*Session, error) {
	var sessions []*Session
	q := s.db.NewSelect().Model(&sessions).Relation("Tenant").
		Where("s.retired_at IS NULL").Where("s.id > ?", after).Order("s.id").Limit(int64(most))
	if by != nil && !by.IsAdmin {
		q = q.Where("s.tenant_id = ?", by.ID)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return sessions, s.loadNodes(ctx, s.db, sessions...)
}

// ActiveIDs returns the ids of a tenant's active sessions.
func (s *Service) ActiveIDs(ctx context.Context, tenantID int64) (map[int64]bool, error) {
	var ids []int64
	err := s.db.NewSelect().Model((*Session)(nil)).Column("id").
		Where("tenant_id = ?", tenantID).Where("retired_at IS NULL").Scan(ctx, &ids)
	active := make(map[int64]bool, len(ids))
	for _, id := range ids {
		active[id] = true
	}
	return active, err
}

// Get returns the session with id. It is a fault.NotFound if there is none and a
// fault.Forbidden if it is somebody else's.
func (s *Service) Get(ctx context.Context, by *tenant.Tenant, id int64) (*Session, error) {
	ses, err := s.read(ctx, s.db, by, selectByID, id)
	if err != nil {
		return nil, err
	}
	return ses, s.loadNodes(ctx, s.db, ses)
}

// selectByID widens the id, which a caller makes up, since PostgreSQL's drivers
// refuse one that the column cannot hold.
const selectByID = `SELECT id, tenant_id, created_at, retired_at, expires_at, data FROM sessions
WHERE id = CAST(? AS bigint)`

// lockTx returns a session without its nodes, and keeps others from changing it
// until tx ends. On SQLite the transaction itself does.
func (s *Service) lockTx(ctx context.Context, tx bun.Tx, by *tenant.Tenant, id int64) (*Session, error) {
	query := selectByID
	if tx.Dialect().Name() == dialect.PG {
		query += " FOR UPDATE"
	}
	return s.read(ctx, tx, by, query, id)
}

// read returns a session without its nodes, if the acting tenant may see it.
func (s *Service) read(ctx context.Context, d bun.IDB, by *tenant.Tenant, query string, id int64) (*Session, error) {
	ses := new(Session)
	err := db.SelectOne(ctx, d, ses, query, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fault.Newf(fault.NotFound, "Not Found")
	case err != nil:
		return nil, err
	case !by.May(ses.TenantID):
		return nil, fault.Newf(fault.Forbidden, "Forbidden")
	}
	if ses.Tenant = by; by.ID != ses.TenantID {
		ses.Tenant, err = s.tenants.GetTx(ctx, d, ses.TenantID)
	}
	return ses, err
}

// selectHeld selects nodes as their session shows them: one that is over, with
// the data that they had in it.
const selectHeld = `SELECT n.id, n.hostname, n.ipaddr, n.state, n.comment, sn.pool, n.reusable, %s.data,
sn.session_id AS held FROM nodes AS n JOIN sessions_nodes AS sn ON sn.node_id = n.id WHERE sn.session_id `

// loadNodes adds the nodes to sessions, which are all active or just one.
func (s *Service) loadNodes(ctx context.Context, d bun.IDB, sessions ...*Session) error {
	if len(sessions) == 0 {
		return nil
	}
	var rows []struct {
		pool.Node `bun:",extend"`

		Held int64
	}
	byID := make(map[int64]*Session, len(sessions))
	ids := make([]string, len(sessions))
	for i, ses := range sessions {
		ids[i], byID[ses.ID] = strconv.FormatInt(ses.ID, 10), ses
	}
	query := fmt.Sprintf(selectHeld, "n")
	if !sessions[0].Active() {
		query = fmt.Sprintf(selectHeld, "sn")
	}
	var err error
	if len(sessions) == 1 {
		err = db.Select(ctx, d, &rows, query+"= ?", sessions[0].ID)
	} else {
		err = db.Select(ctx, d, &rows, query+"IN ("+strings.Join(ids, ", ")+")")
	}
	if err != nil {
		return err
	}
	for i := range rows {
		ses := byID[rows[i].Held]
		ses.Nodes = append(ses.Nodes, &rows[i].Node)
	}
	for _, ses := range sessions {
		ses.sortNodes()
	}
	return nil
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }
