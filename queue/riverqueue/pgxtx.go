package riverqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// pgxTx returns tx as River wants it: as the pgx transaction that it is beneath
// bun and database/sql, whose connection pgx shows to query rewriters. Nothing is
// sent to the server for it.
func pgxTx(ctx context.Context, tx bun.Tx) (pgx.Tx, error) {
	var p peek
	if _, err := tx.Tx.ExecContext(ctx, "", &p); !errors.Is(err, errPeeked) {
		return nil, fmt.Errorf("this is no open transaction of pgx: %w", err)
	}
	return borrowedTx{p.conn}, nil
}

var errPeeked = errors.New("the connection was only looked at")

// peek is a [pgx.QueryRewriter] that keeps the connection and stops the query.
type peek struct{ conn *pgx.Conn }

func (p *peek) RewriteQuery(_ context.Context, conn *pgx.Conn, _ string, _ []any) (string, []any, error) {
	p.conn = conn
	return "", nil, errPeeked
}

type pgxConn = pgx.Conn // has another name than the method Conn

// borrowedTx is a [pgx.Tx] that others began and will end.
type borrowedTx struct{ *pgxConn }

var errBorrowed = errors.New("the transaction belongs to bun")

func (t borrowedTx) Conn() *pgx.Conn                       { return t.pgxConn }
func (t borrowedTx) LargeObjects() pgx.LargeObjects        { panic("riverqueue: River uses no large objects") }
func (t borrowedTx) Begin(context.Context) (pgx.Tx, error) { return nil, errBorrowed }
func (t borrowedTx) Commit(context.Context) error          { return errBorrowed }
func (t borrowedTx) Rollback(context.Context) error        { return errBorrowed }
