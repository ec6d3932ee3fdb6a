// Package riverqueue implements queue.Queue on River, in the application's own database.
package riverqueue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/queue"
)

// Config configures a Queue.
type Config struct {
	Logger          *slog.Logger
	LongWorkers     int
	ShortWorkers    int
	ShutdownTimeout time.Duration
}

// Queue is a queue.Queue kept in the database that holds the state its jobs act on.
type Queue struct{ engine }

type engine interface {
	queue.Queue
	Migrate(ctx context.Context) error
	Current(ctx context.Context) error
}

// NewPostgres returns the queue in the database of db and pool.
func NewPostgres(db *bun.DB, pool *pgxpool.Pool, cfg Config) (*Queue, error) {
	c, err := newClient[pgx.Tx](riverpgxv5.New(pool), pgxTx, cfg)
	return &Queue{c}, err
}

// NewSQLite returns the queue kept in db.
func NewSQLite(db *bun.DB, cfg Config) (*Queue, error) {
	c, err := newClient[*sql.Tx](riversqlite.New(db.DB), func(_ context.Context, tx bun.Tx) (*sql.Tx, error) { return tx.Tx, nil }, cfg)
	return &Queue{c}, err
}

type client[TTx any] struct {
	driver riverdriver.Driver[TTx]
	river  *river.Client[TTx]
	unwrap func(context.Context, bun.Tx) (TTx, error)
	cfg    Config
}

func newClient[TTx any](d riverdriver.Driver[TTx], unwrap func(context.Context, bun.Tx) (TTx, error), cfg Config) (*client[TTx], error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r, err := river.NewClient(d, &river.Config{Logger: cfg.Logger})
	return &client[TTx]{d, r, unwrap, cfg}, err
}

func (c *client[TTx]) Migrate(ctx context.Context) error {
	m, err := rivermigrate.New(c.driver, &rivermigrate.Config{Logger: c.cfg.Logger})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (c *client[TTx]) Current(context.Context) error { return nil }

func (c *client[TTx]) Insert(ctx context.Context, tx bun.Tx, jobs ...queue.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	rtx, err := c.unwrap(ctx, tx)
	if err != nil {
		return err
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = j
		opts := &river.InsertOpts{MaxAttempts: 3}
		if d, ok := j.(queue.Delayed); ok {
			opts.ScheduledAt = d.NotBefore()
		}
		if _, ok := j.(queue.Long); ok {
			opts.Queue = "long"
		}
		params[i].InsertOpts = opts
	}
	_, err = c.river.InsertManyFastTx(ctx, rtx, params)
	return err
}

func (c *client[TTx]) Work(ctx context.Context, mux *queue.Mux) error {
	workers := river.NewWorkers()
	for _, k := range mux.Kinds() {
		river.AddWorkerArgs(workers, envelope{kind: k}, &worker{mux: mux})
	}
	r, err := river.NewClient(c.driver, &river.Config{
		Logger: c.cfg.Logger, Workers: workers,
		FetchPollInterval: 200 * time.Millisecond, FetchCooldown: 5 * time.Millisecond,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: max(c.cfg.ShortWorkers, 8)}, "long": {MaxWorkers: max(c.cfg.LongWorkers, 8)}},
	})
	if err != nil {
		return err
	}
	work := context.WithoutCancel(ctx)
	if err := r.Start(work); err != nil {
		return err
	}
	<-ctx.Done()
	return r.StopAndCancel(work)
}

type envelope struct {
	kind string
	raw  json.RawMessage
}

func (e envelope) Kind() string                  { return e.kind }
func (e *envelope) UnmarshalJSON(b []byte) error { e.raw = append(e.raw[:0], b...); return nil }
func (e envelope) MarshalJSON() ([]byte, error)  { return e.raw, nil }

type worker struct {
	river.WorkerDefaults[envelope]
	mux *queue.Mux
}

func (w *worker) Timeout(j *river.Job[envelope]) time.Duration { return w.mux.Timeout(j.Kind) + time.Minute }

func (w *worker) Work(ctx context.Context, j *river.Job[envelope]) error {
	return w.mux.Dispatch(ctx, j.Kind, j.Args.raw)
}

func pgxTx(ctx context.Context, tx bun.Tx) (pgx.Tx, error) {
	var p peek
	if _, err := tx.Tx.ExecContext(ctx, "", &p); !errors.Is(err, errPeeked) {
		return nil, errors.Join(errors.New("riverqueue: not a pgx transaction"), err)
	}
	return connTx{p.conn}, nil
}

var errPeeked = errors.New("peeked")

type peek struct{ conn *pgx.Conn }

func (p *peek) RewriteQuery(_ context.Context, c *pgx.Conn, _ string, _ []any) (string, []any, error) {
	p.conn = c
	return "", nil, errPeeked
}

type connTx struct{ c *pgx.Conn }

func (t connTx) Conn() *pgx.Conn { return t.c }
func (t connTx) Exec(ctx context.Context, q string, a ...any) (pgconn.CommandTag, error) {
	return t.c.Exec(ctx, q, a...)
}
func (t connTx) Query(ctx context.Context, q string, a ...any) (pgx.Rows, error) {
	return t.c.Query(ctx, q, a...)
}
func (t connTx) QueryRow(ctx context.Context, q string, a ...any) pgx.Row {
	return t.c.QueryRow(ctx, q, a...)
}
func (t connTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.c.SendBatch(ctx, b)
}
func (t connTx) CopyFrom(ctx context.Context, n pgx.Identifier, cols []string, src pgx.CopyFromSource) (int64, error) {
	return t.c.CopyFrom(ctx, n, cols, src)
}
func (t connTx) Prepare(ctx context.Context, n, q string) (*pgconn.StatementDescription, error) {
	return t.c.Prepare(ctx, n, q)
}
func (t connTx) LargeObjects() pgx.LargeObjects { panic("riverqueue: large objects unsupported") }

var errOwned = errors.New("riverqueue: the transaction belongs to bun")

func (t connTx) Begin(context.Context) (pgx.Tx, error) { return nil, errOwned }
func (t connTx) Commit(context.Context) error          { return errOwned }
func (t connTx) Rollback(context.Context) error        { return errOwned }
