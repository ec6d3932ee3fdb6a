package db

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// Select reads the rows of a query into the slice at dest, as bun does. Unlike
// bun it leaves the arguments, which stand for the question marks in the query,
// out of its text, so that PostgreSQL can keep it prepared: what is asked for all
// the time takes half the time so.
func Select(ctx context.Context, d bun.IDB, dest any, query string, args ...any) error {
	rows, err := prepared(ctx, d, query, args)
	if err != nil {
		return err
	}
	return d.NewSelect().DB().ScanRows(ctx, rows, dest)
}

// SelectOne is Select for one row, which it reads into the struct at dest. It
// returns [sql.ErrNoRows] if there is none.
func SelectOne(ctx context.Context, d bun.IDB, dest any, query string, args ...any) error {
	rows, err := prepared(ctx, d, query, args)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	return d.NewSelect().DB().ScanRow(ctx, rows, dest)
}

func prepared(ctx context.Context, d bun.IDB, query string, args []any) (*sql.Rows, error) {
	if d.Dialect().Name() == dialect.PG {
		query = numbered(query)
	} else {
		args = withTimesAsText(args)
	}
	switch d := d.(type) {
	case *bun.DB:
		return d.DB.QueryContext(ctx, query, args...)
	case bun.Tx:
		return d.Tx.QueryContext(ctx, query, args...)
	}
	return nil, fmt.Errorf("cannot select from a %T", d)
}

// withTimesAsText has times among args in the form in which bun writes them, so
// that SQLite, for which they are text, can compare them.
func withTimesAsText(args []any) []any {
	args = slices.Clone(args)
	for i, arg := range args {
		if t, ok := arg.(time.Time); ok {
			args[i] = t.UTC().Format("2006-01-02 15:04:05.999999-07:00")
		}
	}
	return args
}

// numbered writes placeholders as PostgreSQL wants them.
func numbered(query string) string {
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// A connector opens connections on which queries without arguments are not
// prepared. They are bun's, which writes values into the text, so that each is
// another one: the connection would fill with statements. A connection counts in
// the [Share] of the context that it is opened with: each use opens one, which the
// pool of pgx keeps.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	release, err := ShareOf(ctx).take(ctx)
	if err != nil {
		return nil, err
	}
	dc, err := c.Connector.Connect(ctx)
	if err != nil {
		release()
		return nil, err
	}
	return conn{dc.(*stdlib.Conn), release}, nil
}

type conn struct {
	*stdlib.Conn
	release func()
}

// Close implements [driver.Conn].
func (c conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// QueryContext implements [driver.QueryerContext].
func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(args) == 0 {
		args = []driver.NamedValue{{Ordinal: 1, Value: pgx.QueryExecModeExec}}
	}
	return c.Conn.QueryContext(ctx, query, args)
}
