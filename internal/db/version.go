package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"
)

// A Revision says how far a database's schema has got.
type Revision struct {
	// Duffy3 is the Alembic revision of the tables that Duffy 3 has too. It is
	// "base" before the first, and empty if there are no tables.
	Duffy3 string

	// Duffy is our newest migration that was applied, empty if none was.
	Duffy string

	// Head tells whether the schema is what this program wants.
	Head bool
}

// Empty tells whether there is no schema yet.
func (r Revision) Empty() bool { return r.Duffy3 == "" && r.Duffy == "" }

// String returns the revision for people to read, such as "6654d536b836,
// 20261123000002_lists (head)".
func (r Revision) String() string {
	if r.Empty() {
		return "empty"
	}
	s := r.Duffy3
	if r.Duffy != "" {
		s += ", " + r.Duffy
	}
	if r.Head {
		s += " (head)"
	}
	return s
}

// Version returns how far the schema has got, once a step that is being done is
// done. It fails on a database that is not Duffy's, or made by a newer program.
func Version(ctx context.Context, d *DB) (Revision, error) {
	s, err := d.look(ctx)
	if err != nil {
		return Revision{}, err
	}
	return d.revision(s), nil
}

func (d *DB) revision(s state) Revision {
	r := Revision{Duffy3: s.duffy3, Head: d.nextStep(s, "") == nil}
	if len(s.ours) > 0 {
		r.Duffy = s.ours[len(s.ours)-1]
	}
	return r
}

// Current returns nil if the schema is what this program wants. If not, its error
// says what to do.
func Current(ctx context.Context, d *DB) error {
	s, err := d.look(ctx)
	return d.current(s, err)
}

// Ready is Current for a program that is running already. A newer schema does not
// keep it from working, and it does not wait for a migration that is being done.
func Ready(ctx context.Context, d *DB) error {
	s, err := d.readState(ctx, d)
	if newer := (*newerError)(nil); errors.As(err, &newer) {
		err = nil
	}
	return d.current(s, err)
}

func (d *DB) current(s state, err error) error {
	r := d.revision(s)
	switch {
	case err != nil:
		return err
	case r.Empty():
		return errors.New("the database is empty: run duffy setup-db")
	case !r.Head:
		return fmt.Errorf("the schema of the database is older than this program, at %s: run duffy migration upgrade", r)
	}
	return nil
}

// HasTables returns the names of the tables that are in the way of a new schema,
// sorted: those that have Duffy's names, whoever made them.
func HasTables(ctx context.Context, d bun.IDB) ([]string, error) {
	ts, err := readTables(ctx, d)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range ts {
		if _, duffy3 := duffy3Columns[name]; duffy3 || slices.Contains(ourTables, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
