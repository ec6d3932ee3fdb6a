package duffy

import (
	"context"
	"errors"
	"fmt"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/queue"
)

// A Revision says how far the database's schema has got.
type Revision = db.Revision

// A migrator is a queue that keeps tables of its own in the database.
type migrator interface {
	Migrate(ctx context.Context) error
	Current(ctx context.Context) error
	Drop(ctx context.Context) error
}

// Migrate brings the database's schema up to date: it sets up an empty database
// and upgrades any other.
func (d *Duffy) Migrate(ctx context.Context) error {
	defer d.reconnect()
	if _, _, err := db.Migrate(ctx, d.db); err != nil {
		return err
	}
	if m, ok := d.queue.(migrator); ok {
		return m.Migrate(ctx)
	}
	return nil
}

// Check returns an error that says what to do unless the database's schema is
// what this version of Duffy works with.
func (d *Duffy) Check(ctx context.Context) error {
	if err := db.Current(ctx, d.db); err != nil {
		return err
	}
	if m, ok := d.queue.(migrator); ok {
		return m.Current(ctx)
	}
	return nil
}

// Ready returns an error unless requests can be answered and jobs inserted and run:
// the database takes writes and has the tables that this version of Duffy works with, and
// the queue's server, if it has one, is there too, and nodes can be tried, see
// [session.Service.Ready]. If this process works, what stands still has been looked for
// lately. Unlike Check it accepts what a
// newer version has added since, so that older ones work on until they are replaced.
func (d *Duffy) Ready(ctx context.Context) error {
	if err := db.Ready(ctx, d.db); err != nil {
		return err
	}
	if err := d.db.CanWrite(ctx); err != nil {
		return fmt.Errorf("the database takes no writes: %w", err)
	}
	if m, ok := d.queue.(migrator); ok {
		if err := m.Current(ctx); err != nil {
			return err
		}
	}
	if p, ok := d.queue.(queue.Pinger); ok {
		if err := p.Ping(ctx); err != nil {
			return err
		}
	}
	return errors.Join(d.Sessions.Ready(ctx), d.passes.current())
}

// Revision returns how far the schema has got. It fails on a database that is
// neither Duffy's nor Duffy 3's, or made by a newer program.
func (d *Duffy) Revision(ctx context.Context) (Revision, error) {
	r, err := db.Version(ctx, d.db)
	if m, ok := d.queue.(migrator); ok && r.Head {
		r.Head = m.Current(ctx) == nil
	}
	return r, err
}

// Upgrade brings the schema of a database of Duffy's, or of Duffy 3's, up to date
// and returns how far it had got before and after. A target stops it there, at a
// revision of Duffy 3 or a migration of ours. Duffy 3 still works on the database
// afterwards.
//
// Duffy 3 must not be working on the database; earlier versions of Duffy 4 may, and
// go on. Doing it twice, or in two processes at once, is harmless; if it is stopped
// half way it only needs to be done again.
func (d *Duffy) Upgrade(ctx context.Context, target string) (from, to Revision, err error) {
	from, err = d.Revision(ctx)
	switch {
	case err != nil:
		return from, to, err
	case from.Empty():
		return from, to, errors.New("there is nothing of Duffy's in this database to upgrade: check its URL, or run duffy setup-db")
	}
	if _, to, err = db.Upgrade(ctx, d.db, target); err != nil || !to.Head {
		return from, to, err
	}
	return from, to, d.Migrate(ctx)
}

// Downgrade takes migrations of ours back, as far as the target, see
// [Duffy.Upgrade], or the last few if the target is a number such as "-1". Going
// back to Duffy 3's last revision leaves its tables and nothing else, unless there
// are those of a queue that was used before, and loses nothing that Duffy 3 knows
// of. A later Upgrade takes over what Duffy 3 did meanwhile.
//
// Nobody must be working on the database. If it is stopped half way it only needs
// to be done again.
func (d *Duffy) Downgrade(ctx context.Context, target string) (from, to Revision, err error) {
	after, err := db.AfterDowngrade(ctx, d.db, target)
	if err != nil {
		return from, to, err
	}
	if m, ok := d.queue.(migrator); ok && after.Duffy == "" {
		if err := m.Drop(ctx); err != nil { // first, since without ours this is Duffy 3's database
			return from, to, err
		}
	}
	defer d.reconnect()
	return db.Downgrade(ctx, d.db, target)
}

// reconnect drops connections, which know statements prepared for the schema as
// it was.
func (d *Duffy) reconnect() {
	if d.db.Pool != nil {
		d.db.Pool.Reset()
	}
}
