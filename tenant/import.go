package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/fault"
)

// An Import is a tenant that brings its API key along: any text of 1 to 72 bytes
// without NULs, since keys of the legacy API are no UUIDs.
type Import struct {
	Tenant
	Key string
}

// Import adds active tenants like Create, all of them or none. It takes a quarter
// of a second of CPU for each, most of it without a transaction.
func (s *Service) Import(ctx context.Context, imports []Import) error {
	tenants, primary := make([]*Tenant, len(imports)), make([]*Key, len(imports))
	for n, i := range imports {
		var err error
		tenants[n], primary[n], err = s.prepare(i.Tenant, i.Key)
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			return fault.Newf(f.Kind, "tenant %s: %s", i.Name, f.Detail)
		}
		if err != nil {
			return fmt.Errorf("tenant %s: %w", i.Name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for n, t := range tenants {
			if err := insert(ctx, tx, t, primary[n]); err != nil {
				return err
			}
		}
		return nil
	})
}
