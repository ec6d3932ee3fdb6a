package pool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/fault"
)

// Installation returns the id of this Duffy, see [backend.Request]. All processes on
// a database have the same one.
func (s *Service) Installation(ctx context.Context) (string, error) {
	return installation(ctx, s.db)
}

func installation(ctx context.Context, db bun.IDB) (id string, err error) {
	err = db.NewSelect().Table("installation").Column("id").Scan(ctx, &id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", errors.New("the database has no installation id: make one with duffy admin new-installation")
	case err != nil:
		return "", fmt.Errorf("read the installation id: %w", err)
	}
	return id, nil
}

// NewInstallation makes the database that of another Duffy than the one that it was
// copied from, and returns its new id. Machines that are made from now on are named
// after it. Nodes that exist stay, and are known by what provisioning told about
// them: in a copy, their machines are the original's. See [Service.ForgetNodesTx].
func (s *Service) NewInstallation(ctx context.Context) (id string, err error) {
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Table("installation").Where("singleton").Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewRaw("INSERT INTO installation DEFAULT VALUES").Exec(ctx); err != nil {
			return err
		}
		id, err = installation(ctx, tx)
		return err
	})
	return id, err
}

// ForgetNodesTx retires all nodes, whatever they are doing, and leaves their machines
// to the Duffy that they belong to: those of a copied database are the original's. It
// fails with a fault.Conflict while somebody works on nodes, which nobody does in a copy.
func (s *Service) ForgetNodesTx(ctx context.Context, tx bun.Tx) error {
	working, err := tx.NewSelect().Model((*Node)(nil)).
		Where("retired_at IS NULL").Where("lease_until > ?", s.now()).Count(ctx)
	switch {
	case err != nil:
		return err
	case working > 0:
		return fault.Newf(fault.Conflict, "a worker, or a request, is at work on %d nodes of this database: "+
			"it is not a copy, or its services have to be stopped", working)
	}
	_, err = tx.NewUpdate().Model((*Node)(nil)).Where("retired_at IS NULL").
		Set("state = ?", Done).Set("state_since = ?", s.now()).Set("retired_at = ?", s.now()).
		Set("session_id = NULL").Set("lease_owner = NULL").Set("lease_until = NULL").Set("retry_at = NULL").Exec(ctx)
	return err
}
