package db

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// migrationLock is the key of the PostgreSQL advisory lock under which the schema
// changes. Any number will do that no other program takes in this database.
const migrationLock int64 = 0x64756666_79646200

// Migrate makes the schema what this program wants: it sets up an empty database,
// takes over one of Duffy 3 at any of its revisions, and upgrades one of its own.
// It returns how far the schema had got before and after.
//
// Each step is a transaction under a lock, so that any number of programs may
// migrate at once, and one that is stopped half way only needs to run again.
func Migrate(ctx context.Context, d *DB) (from, to Revision, err error) {
	return Upgrade(ctx, d, "")
}

// Upgrade is Migrate up to and including a target: a revision of Duffy 3 or the
// name of a migration. "head" and "" mean everything. A target that was reached
// before changes nothing.
func Upgrade(ctx context.Context, d *DB, target string) (from, to Revision, err error) {
	if target == "head" {
		target = ""
	}
	duffy3, ours := d.steps()
	if target != "" && stepIndex(slices.Concat(duffy3, ours), target) < 0 {
		return from, to, fmt.Errorf("there is no revision %q to upgrade to: %s", target, knownNames(duffy3, ours))
	}
	return d.migrate(ctx, func(ctx context.Context, tx bun.Tx, s state) (bool, error) {
		next := d.nextStep(s, target)
		if next == nil {
			return false, nil
		}
		return true, d.apply(ctx, tx, *next)
	})
}

// knownNames lists what can be given as a target.
func knownNames(duffy3, ours []step) string {
	var names []string
	for _, s := range slices.Concat(duffy3, ours) {
		names = append(names, s.name)
	}
	return "known are " + strings.Join(names, ", ")
}

// migrate does one step after the other, each in a transaction of its own, until
// do says that there is none left.
func (d *DB) migrate(ctx context.Context, do func(context.Context, bun.Tx, state) (more bool, err error)) (from, to Revision, err error) {
	for first, more := true, true; more; first = false {
		err = d.retryLocked(ctx, func(ctx context.Context, tx bun.Tx) error {
			if err := d.lockSchema(ctx, tx); err != nil {
				return err
			}
			s, err := d.readState(ctx, tx)
			if err != nil {
				return err
			}
			to = d.revision(s)
			if first {
				from = to
			}
			more, err = do(ctx, tx, s)
			return err
		})
		if err != nil {
			return from, to, err
		}
	}
	return from, to, nil
}

// Running programs go on while the schema changes. What wants a lock on a table
// waits for those who have it, and everybody else waits behind it: so it waits for
// lockTimeout only, and then tries again, until lockPatience is over.
const (
	stepPatience = "10min" // with a step that another program is doing
	lockTimeout  = "500ms"
	lockPause    = time.Second
	lockPatience = 30 * time.Second
)

// retryLocked runs do in a transaction, again and again while it can't have a lock.
func (d *DB) retryLocked(ctx context.Context, do func(context.Context, bun.Tx) error) error {
	for began := time.Now(); ; {
		err := d.RunInTx(ctx, nil, do)
		if !Held(err) {
			return err
		}
		if time.Since(began) > lockPatience {
			return fmt.Errorf("another program is working on the tables: stop it, Duffy 3 too, and run this again: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// lockSchema keeps others from changing the schema until tx ends. On SQLite that
// is what a transaction does anyway.
func (d *DB) lockSchema(ctx context.Context, tx bun.Tx) error {
	if !d.Postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = ?; SELECT pg_advisory_xact_lock(?); SET LOCAL lock_timeout = ?",
		stepPatience, migrationLock, lockTimeout)
	if err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	return nil
}

// nextStep returns the first step that is missing, or nil if there is none up to
// and including target; an empty target means the last.
func (d *DB) nextStep(s state, target string) *step {
	duffy3, ours := d.steps()
	done := stepIndex(duffy3, s.duffy3)
	for i, st := range slices.Concat(duffy3, ours) {
		if i > done && !slices.Contains(s.ours, st.name) {
			return &st
		}
		if st.name == target {
			return nil
		}
	}
	return nil
}

// apply does a step and writes down that it is done.
func (d *DB) apply(ctx context.Context, tx bun.Tx, st step) error {
	if _, err := tx.Tx.ExecContext(ctx, st.up); err != nil {
		return fmt.Errorf("migration %s: %w", st.name, err)
	}
	if _, err := tx.ExecContext(ctx, d.record(st), st.name); err != nil {
		return fmt.Errorf("record migration %s: %w", st.name, err)
	}
	return nil
}

// record returns the SQL that writes down that a step is done.
func (d *DB) record(st step) string {
	duffy3, _ := d.steps()
	switch {
	case stepIndex(duffy3, st.name) < 0:
		return createHistory + "INSERT INTO duffy_migrations (name) VALUES (?);"
	case !d.Postgres():
		return createHistory + stampAlembic // an SQLite database is known to be ours by this table
	case st.name == base:
		return "" // which is what a database without a revision is
	}
	return stampAlembic
}

const createHistory = `
CREATE TABLE IF NOT EXISTS duffy_migrations (
    name       TEXT NOT NULL CONSTRAINT duffy_migrations_pkey PRIMARY KEY,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
);
`

const stampAlembic = `
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
DELETE FROM alembic_version;
INSERT INTO alembic_version (version_num) VALUES (?);
`
