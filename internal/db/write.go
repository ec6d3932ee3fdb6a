package db

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/uptrace/bun"
)

// writeRest is how long a write that succeeded stands for another one, whoever asks.
const writeRest = time.Second

// CanWrite returns an error unless the database takes writes, which one that only
// answers need not do: a standby, one that was made read-only, a full disk. It writes
// a row and removes it, in one transaction that it commits, since some errors are
// found by the commit only. It leaves nothing and waits for no other process.
func (d *DB) CanWrite(ctx context.Context) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if time.Since(d.wrote) < writeRest {
		return nil
	}
	name := rand.Text()
	err := d.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO write_probes (name) VALUES (?)", name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM write_probes WHERE name = ?", name)
		return err
	})
	if err == nil {
		d.wrote = time.Now()
	}
	return err
}
