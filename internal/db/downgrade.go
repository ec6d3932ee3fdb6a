package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/uptrace/bun"
)

// Downgrade takes back migrations of ours, newest first: all after the target,
// which is one of ours or Duffy 3's last revision; or as many as a target such as
// "-1" says, which is what "" means. Duffy 3's own revisions can't be taken back.
//
// Once the first of ours is taken back, nothing of ours is left on PostgreSQL.
// Rows keep their states, which are Duffy 3's, and their data; what sessions hold
// is in sessions_nodes, where a later [Upgrade] finds it again.
func Downgrade(ctx context.Context, d *DB, target string) (from, to Revision, err error) {
	s, err := d.look(ctx)
	if err != nil {
		return from, to, err
	}
	keep, err := d.downgradeTarget(s, target)
	if err != nil {
		return from, to, err
	}
	return d.migrate(ctx, func(ctx context.Context, tx bun.Tx, s state) (bool, error) {
		if len(s.ours) <= keep {
			return false, nil
		}
		return true, d.takeBack(ctx, tx, s)
	})
}

// AfterDowngrade returns how far the schema would have got after a [Downgrade] to
// target, and refuses what that refuses.
func AfterDowngrade(ctx context.Context, d *DB, target string) (Revision, error) {
	s, err := d.look(ctx)
	if err != nil {
		return Revision{}, err
	}
	keep, err := d.downgradeTarget(s, target)
	if err != nil {
		return Revision{}, err
	}
	s.ours = s.ours[:min(keep, len(s.ours))]
	return d.revision(s), nil
}

// downgradeTarget returns how many of our migrations are to remain.
func (d *DB) downgradeTarget(s state, target string) (int, error) {
	if target == "" {
		target = "-1"
	}
	duffy3, ours := d.steps()
	if target == duffy3[len(duffy3)-1].name {
		return 0, nil
	}
	if i := stepIndex(ours, target); i >= 0 {
		return i + 1, nil
	}
	errDuffy3 := errors.New("the revisions of Duffy 3 itself can't be taken back")
	if n, err := strconv.Atoi(target); err == nil && n < 0 {
		if len(s.ours)+n < 0 {
			return 0, errDuffy3
		}
		return len(s.ours) + n, nil
	}
	if target == base || stepIndex(duffy3, target) >= 0 {
		return 0, errDuffy3
	}
	return 0, fmt.Errorf("there is no revision %q to downgrade to: %s", target, knownNames(duffy3[len(duffy3)-1:], ours))
}

// takeBack takes back our newest migration.
func (d *DB) takeBack(ctx context.Context, tx bun.Tx, s state) error {
	_, ours := d.steps()
	last := s.ours[len(s.ours)-1]
	if _, err := tx.Tx.ExecContext(ctx, ours[stepIndex(ours, last)].down); err != nil {
		return fmt.Errorf("take back migration %s: %w", last, err)
	}
	forget := "DELETE FROM duffy_migrations WHERE name = ?"
	if len(s.ours) == 1 && d.Postgres() {
		forget = "DROP TABLE duffy_migrations"
	}
	if _, err := tx.ExecContext(ctx, forget, last); err != nil {
		return fmt.Errorf("forget migration %s: %w", last, err)
	}
	return nil
}
