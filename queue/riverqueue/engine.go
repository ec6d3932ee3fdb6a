package riverqueue

import (
	"context"
	"fmt"
	"strings"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"
)

// An engine is River on one kind of database, without the type parameter that
// says which.
type engine interface {
	open(*river.Config) error // comes before all others
	insert(ctx context.Context, tx bun.Tx, params []river.InsertManyParams) error
	worker(*river.Config) (client, error)
	migrate(context.Context, rivermigrate.Direction) error
	current(context.Context) error
}

// A client is what Work needs of a *river.Client.
type client interface {
	Start(context.Context) error
	Stopped() <-chan struct{}
}

type riverEngine[TTx any] struct {
	driver riverdriver.Driver[TTx]
	unwrap func(context.Context, bun.Tx) (TTx, error)
	run    func(context.Context, *migrator[TTx], rivermigrate.Direction) error

	inserter *river.Client[TTx] // never started, so that it only inserts
	migrator *migrator[TTx]
}

type migrator[TTx any] = rivermigrate.Migrator[TTx]

func (e *riverEngine[TTx]) open(cfg *river.Config) (err error) {
	if e.inserter, err = river.NewClient(e.driver, cfg); err != nil {
		return err
	}
	e.migrator, err = rivermigrate.New(e.driver, &rivermigrate.Config{Logger: cfg.Logger})
	return err
}

func (e *riverEngine[TTx]) insert(ctx context.Context, tx bun.Tx, params []river.InsertManyParams) error {
	rtx, err := e.unwrap(ctx, tx)
	if err != nil {
		return err
	}
	// InsertManyFastTx makes less work for the database, but goes there three
	// times, which takes longer when there are many at once.
	_, err = e.inserter.InsertManyTx(ctx, rtx, params)
	return err
}

func (e *riverEngine[TTx]) worker(cfg *river.Config) (client, error) {
	return river.NewClient(e.driver, cfg)
}

func (e *riverEngine[TTx]) migrate(ctx context.Context, direction rivermigrate.Direction) error {
	return e.run(ctx, e.migrator, direction)
}

func (e *riverEngine[TTx]) current(ctx context.Context) error {
	res, err := e.migrator.Validate(ctx, nil)
	if err != nil {
		return fmt.Errorf("read the version of River's tables: %w", err)
	}
	if !res.OK {
		return fmt.Errorf("the tables of River, which runs the jobs, are older than this program (%s): run duffy migration upgrade", strings.Join(res.Messages, ", "))
	}
	return nil
}
