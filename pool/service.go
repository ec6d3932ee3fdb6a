package pool

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/internal/foreign"
	"github.com/duffy-ci/duffy/internal/foreign/seam"
	"github.com/duffy-ci/duffy/queue"
)

// ServiceConfig configures a [Service]. Backends and Contextualizer are needed
// where nodes are provisioned, the rest has usable zero values.
type ServiceConfig struct {
	Pools          *Set
	Backends       map[string]backend.Backend // by the name that pools know them by
	Contextualizer backend.Contextualizer

	// InspectTimeout is how long nodes that were just provisioned may take to answer
	// before they are ready, DefaultInspectTimeout if zero. It is for a contextualizer
	// that is a [backend.Inspector].
	InspectTimeout time.Duration

	Lease   time.Duration         // how long a worker may be silent, DefaultLease if zero
	Metrics prometheus.Registerer // gets counts of what this process does, nil keeps none
	Logger  *slog.Logger

	// Now tells the time that all processes on the database compare, see [db.Clock]; nil
	// is that of this machine, for a single process. Elapsed counts the time since some
	// instant by a clock that nobody sets; nil is this machine's.
	Now     func() time.Time
	Elapsed func() time.Duration
}

// DefaultLease is how long work on a node stays with a worker that has died.
// Living workers renew their leases three times as often.
const DefaultLease = 30 * time.Second

// DefaultInspectTimeout is short, since a backend need not wait for its machines to
// boot. Those that do not answer yet are inspected when they are handed out.
const DefaultInspectTimeout = 10 * time.Second

// Service keeps pools of nodes. It is safe for concurrent use, also by other
// processes on the same database.
type Service struct {
	db      *bun.DB
	queue   queue.Inserter
	cfg     ServiceConfig
	log     *slog.Logger
	metrics *metrics
	fills   fills
	watch   watch

	respelt atomic.Bool // the addresses that Duffy 3 wrote
}

// New returns the pools of cfg with their nodes in db. Background work goes to
// queue.
func New(db *bun.DB, queue queue.Inserter, cfg ServiceConfig) *Service {
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.InspectTimeout == 0 {
		cfg.InspectTimeout = DefaultInspectTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Elapsed == nil {
		began := time.Now()
		cfg.Elapsed = func() time.Duration { return time.Since(began) }
	}
	cfg.Contextualizer = seam.Contextualizer(cfg.Contextualizer)
	return &Service{db: db, queue: queue, cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Metrics, cfg.Pools)}
}

// Pools returns the configuration that the service works by.
func (s *Service) Pools() *Set { return s.cfg.Pools }

// Lease returns how long work on a node stays with a worker that is silent.
func (s *Service) Lease() time.Duration { return s.cfg.Lease }

// Levels counts the active nodes of the pool called name by state.
func (s *Service) Levels(ctx context.Context, name string) (map[State]int, error) {
	var counts []struct {
		State State
		Count int
	}
	err := s.db.NewSelect().Model((*Node)(nil)).
		Column("state").ColumnExpr("count(*) AS count").
		Where("pool = ?", name).Where("retired_at IS NULL").
		Group("state").Scan(ctx, &counts)
	levels := make(map[State]int, len(counts))
	for _, c := range counts {
		levels[c.State] = c.Count
	}
	return levels, err
}

// Trouble is why a pool is not filled.
type Trouble struct {
	bun.BaseModel `bun:"table:pools,alias:p"`

	Pool        string     `bun:"name,pk"`
	Failures    int        // runs of the backend in a row without a node
	RetryAt     *time.Time // nothing is provisioned before
	LastError   string     `bun:",nullzero"`
	LastErrorAt *time.Time
}

// rests tells whether nothing is to be provisioned yet. A pause that ends later than any
// does was begun before the database's clock went back.
func (t Trouble) rests(now time.Time) bool {
	return t.RetryAt != nil && t.RetryAt.After(now) && !t.RetryAt.After(now.Add(pauseMax))
}

// Trouble returns what was last wrong with filling the pool called name; it is
// zero if nothing ever was.
func (s *Service) Trouble(ctx context.Context, name string) (Trouble, error) {
	return s.trouble(ctx, s.db, name)
}

func (s *Service) trouble(ctx context.Context, db bun.IDB, name string) (Trouble, error) {
	t := Trouble{Pool: name}
	err := db.NewSelect().Model(&t).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return t, err
}

// Nodes returns all active nodes in the order of their IDs.
func (s *Service) Nodes(ctx context.Context) ([]*Node, error) { return s.NodesPage(ctx, 0, 0) }

// NodesPage returns those of Nodes whose ids are above after, and the first most
// of them; 0 is all of them.
func (s *Service) NodesPage(ctx context.Context, after int64, most int) ([]*Node, error) {
	var nodes []*Node
	err := s.db.NewSelect().Model(&nodes).
		Where("retired_at IS NULL").Where("id > ?", after).Order("id").Limit(int64(most)).Scan(ctx)
	return nodes, err
}

// Node returns the node with id, retired or not, or a fault.NotFound.
func (s *Service) Node(ctx context.Context, id int64) (*Node, error) {
	n := &Node{ID: id}
	err := s.db.NewSelect().Model(n).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.Newf(fault.NotFound, "Not Found")
	}
	return n, err
}

// CreateNode adds an unused node. Of n the hostname, address, comment, pool,
// data and Reusable count. A hostname or address that an active node has, however it
// is spelt, is a fault.Conflict. A fault.Invalid is an address that is none, and data
// that not every database stores: U+0000, numbers that are too large, more than a
// megabyte, or more than 64 levels.
func (s *Service) CreateNode(ctx context.Context, n Node) (*Node, error) {
	if err := n.Data.check(); err != nil {
		return nil, err
	}
	address := foreign.Address(n.IPAddr)
	if address == "" && n.IPAddr != "" {
		return nil, fault.Newf(fault.Invalid, "%q is not an IP address", n.IPAddr)
	}
	now := s.now()
	n = Node{
		Hostname: foreign.Name(n.Hostname), IPAddr: address, Comment: n.Comment, Pool: n.Pool,
		Reusable: n.Reusable, Data: n.Data,
		State: Unused, CreatedAt: now, StateSince: &now,
	}
	err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := s.requireNewHostname(ctx, tx, n.Hostname); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&n).Returning("id").Exec(ctx); err != nil {
			return err
		}
		return s.queue.Insert(ctx, tx, s.fillReusing()...)
	})
	if _, taken := db.UniqueViolation(err); taken {
		return nil, fault.Wrap(fault.Conflict, err, nodeExists)
	}
	return &n, err
}
