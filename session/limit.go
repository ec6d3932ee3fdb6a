package session

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/tenant"
)

// The largest [Request], whoever makes it: so many specs, and so many nodes in all
// of them. Quotas and pools are far smaller. Sums below these limits do not
// overflow.
const (
	MaxSpecs = 100
	MaxNodes = 10_000
)

// checkSize refuses specs that no request may have.
func checkSize(specs []Spec) error {
	if len(specs) > MaxSpecs {
		return fault.Newf(fault.Invalid, "nodes_specs: ensure this value has at most %d items", MaxSpecs)
	}
	sum := 0
	for i, spec := range specs {
		switch {
		case spec.Quantity < 1:
			return fault.Newf(fault.Invalid, "nodes_specs[%d].quantity: ensure this value is greater than or equal to 1", i)
		case spec.Quantity > MaxNodes:
			return fault.Newf(fault.Invalid, "nodes_specs[%d].quantity: ensure this value is less than or equal to %d", i, MaxNodes)
		}
		sum += spec.Quantity
	}
	if sum > MaxNodes {
		return fault.Newf(fault.Invalid, "nodes_specs: ensure the quantities add up to at most %d", MaxNodes)
	}
	return nil
}

// countHeld counts what a tenant has in active sessions.
const countHeld = `SELECT
	(SELECT count(*) FROM sessions WHERE tenant_id = ? AND retired_at IS NULL) AS sessions,
	(SELECT count(*) FROM sessions_nodes AS sn JOIN sessions AS s ON s.id = sn.session_id
		WHERE s.tenant_id = ? AND s.retired_at IS NULL) AS nodes`

// checkQuota refuses a session that takes t, whose row is locked, beyond its node
// quota or its session quota. Administrators have neither.
func (h *handOut) checkQuota(ctx context.Context, tx bun.Tx, t *tenant.Tenant, specs []Spec) error {
	if t.IsAdmin {
		return nil
	}
	requested := 0
	for _, spec := range specs {
		requested += spec.Quantity
	}
	var held struct{ Sessions, Nodes int }
	if err := db.SelectOne(ctx, tx, &held, countHeld, t.ID, t.ID); err != nil {
		return err
	}
	limits := h.tenants.Limits(t)
	if requested+held.Nodes > limits.NodeQuota {
		return exceeded("requested nodes (%d) + current allocation (%d) = %d > %d", requested, held.Nodes, limits.NodeQuota)
	}
	if held.Sessions >= limits.SessionQuota {
		return exceeded("requested sessions (%d) + active sessions (%d) = %d > %d", 1, held.Sessions, limits.SessionQuota)
	}
	return nil
}

func exceeded(format string, requested, held, quota int) error {
	return refusal{fault.Newf(fault.Forbidden, "quota exceeded: "+format, requested, held, requested+held, quota), outcomeQuota}
}
