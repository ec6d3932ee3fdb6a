package riverqueue_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite"

	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

type greet struct{ Name string }

func (greet) Kind() string { return "greet" }

// A job is inserted in a transaction, and runs once that is committed.
func ExampleQueue() {
	pool, err := sql.Open("sqlite", "file:/example?vfs=memdb&_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		log.Fatal(err)
	}
	db := bun.NewDB(pool, sqlitedialect.New())
	defer db.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	q, err := riverqueue.NewSQLite(db, riverqueue.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := q.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	err = db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		return q.Insert(ctx, tx, greet{"world"})
	})
	if err != nil {
		log.Fatal(err)
	}

	var mux queue.Mux
	queue.Handle(&mux, time.Minute, func(_ context.Context, g greet) error {
		fmt.Println("hello", g.Name)
		stop()
		return nil
	})
	if err := q.Work(ctx, &mux); err != nil {
		log.Fatal(err)
	}
	// Output: hello world
}
