package session

import (
	"context"

	"github.com/uptrace/bun"
)

// ForgetNodes ends all sessions and forgets all nodes, without touching a machine: in
// a copy of a database they belong to the original. See [pool.Service.ForgetNodesTx].
func (s *Service) ForgetNodes(ctx context.Context) error {
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := s.pools.ForgetNodesTx(ctx, tx); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model((*Session)(nil)).
			Where("retired_at IS NULL").Set("retired_at = ?", s.now()).Exec(ctx)
		return err
	})
}
