package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// alembicTable holds the revision of the Duffy 3 tables, historyTable the names of
// our migrations that were applied.
const (
	alembicTable = "alembic_version"
	historyTable = "duffy_migrations"
)

// duffy3Columns are the columns by which the tables of Duffy 3 are recognized.
var duffy3Columns = map[string][]string{
	"tenants":        {"id", "created_at", "retired_at", "name", "is_admin", "ssh_key", "api_key", "node_quota"},
	"nodes":          {"id", "created_at", "retired_at", "hostname", "ipaddr", "state", "comment", "pool", "reusable", "data"},
	"sessions":       {"id", "created_at", "retired_at", "tenant_id", "expires_at", "data"},
	"sessions_nodes": {"session_id", "node_id", "pool", "data"},
}

// ourTables are the tables that our migrations add.
var ourTables = []string{"pools", "api_keys", "write_probes", "installation"}

// state is where a database stands among the steps.
type state struct {
	duffy3 string   // revision of the Duffy 3 tables: base before the first, empty if there are none
	ours   []string // our migrations that were applied, sorted
}

func (s state) empty() bool { return s.duffy3 == "" && len(s.ours) == 0 }

// look reads the state between two steps, not while one is being done.
func (d *DB) look(ctx context.Context) (s state, err error) {
	if !d.Postgres() {
		return d.readState(ctx, d)
	}
	err = d.RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = ?; SELECT pg_advisory_xact_lock_shared(?)", stepPatience, migrationLock); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		s, err = d.readState(ctx, tx)
		return err
	})
	return s, err
}

// readState finds out where the database stands. It refuses tables by our names
// that are not ours, and revisions and migrations that it does not know.
func (d *DB) readState(ctx context.Context, tx bun.IDB) (state, error) {
	ts, err := readTables(ctx, tx)
	if err != nil {
		return state{}, err
	}
	ours, err := ts.values(ctx, tx, historyTable, "name")
	if err != nil {
		return state{}, err
	}
	revisions, err := ts.values(ctx, tx, alembicTable, "version_num")
	if err != nil {
		return state{}, err
	}
	s := state{ours: ours}
	switch {
	case len(revisions) > 1:
		return state{}, fmt.Errorf("the table %s has several revisions, %s, where Duffy 3 has one: %s",
			alembicTable, strings.Join(revisions, ", "), refusal)
	case len(revisions) == 1:
		s.duffy3 = revisions[0]
	case ts.hasDuffy3():
		s.duffy3 = base
	}
	return s, d.check(s, ts)
}

// check reports what keeps us from working with the database as it is.
func (d *DB) check(s state, ts tables) error {
	if len(s.ours) == 0 {
		for _, name := range ourTables {
			if ts[name] != nil {
				return fmt.Errorf("there is a table %s already, and it is not Duffy's: %s", name, refusal)
			}
		}
	}
	if s.empty() {
		return nil
	}
	duffy3, ours := d.steps()
	if stepIndex(duffy3, s.duffy3) < 0 {
		return fmt.Errorf("the table %s has the revision %q, which is none of Duffy 3's: %s", alembicTable, s.duffy3, refusal)
	}
	if err := ts.checkDuffy3(s.duffy3 != base); err != nil {
		return err
	}
	if !d.Postgres() && ts[historyTable] == nil {
		return errors.New("this is an SQLite database of Duffy 3: only its PostgreSQL databases can be taken over")
	}
	for _, name := range s.ours {
		if stepIndex(ours, name) < 0 {
			return &newerError{name}
		}
	}
	return nil
}

// A newerError is about a schema that a newer program has made.
type newerError struct{ migration string }

func (e *newerError) Error() string {
	return fmt.Sprintf("the schema is newer than this program, which does not know the migration %s: "+
		"use the program that made it, if only to downgrade", e.migration)
}

const refusal = "use a database or schema of Duffy's own"

// tables maps the names of the tables to those of their columns.
type tables map[string][]string

func readTables(ctx context.Context, tx bun.IDB) (tables, error) {
	query := `SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'`
	if tx.Dialect().Name() == dialect.PG {
		query = `SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
			WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
			AND a.attnum > 0 AND NOT a.attisdropped`
	}
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer rows.Close()
	ts := tables{}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return nil, fmt.Errorf("read the schema: %w", err)
		}
		ts[table] = append(ts[table], column)
	}
	return ts, rows.Err()
}

// values returns what a column holds, sorted; nothing if there is no such table.
func (ts tables) values(ctx context.Context, tx bun.IDB, table, column string) ([]string, error) {
	if ts[table] == nil {
		return nil, nil
	}
	var values []string
	err := tx.NewSelect().ColumnExpr("?", bun.Ident(column)).TableExpr("?", bun.Ident(table)).OrderExpr("1").Scan(ctx, &values)
	if err != nil {
		return nil, fmt.Errorf("read the table %s: %w", table, err)
	}
	return values, nil
}

// hasDuffy3 tells whether any table has the name of one of Duffy 3's.
func (ts tables) hasDuffy3() bool {
	for name := range duffy3Columns {
		if ts[name] != nil {
			return true
		}
	}
	return false
}

// checkDuffy3 reports which of Duffy 3's tables or columns is missing.
func (ts tables) checkDuffy3(lifetimes bool) error {
	for _, table := range slices.Sorted(maps.Keys(duffy3Columns)) {
		columns := duffy3Columns[table]
		if ts[table] == nil {
			return fmt.Errorf("there are tables by Duffy's names but none called %s: %s", table, refusal)
		}
		if table == "tenants" && lifetimes {
			columns = append(slices.Clone(columns), "session_lifetime", "session_lifetime_max")
		}
		for _, column := range columns {
			if !slices.Contains(ts[table], column) {
				return fmt.Errorf("the table %s has no column %s, so it is not Duffy's: %s", table, column, refusal)
			}
		}
	}
	return nil
}
