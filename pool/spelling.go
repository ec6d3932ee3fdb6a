package pool

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// Hostnames and addresses of nodes are in their one spelling, by which the database
// finds that two nodes are one machine. How a backend spelt them is in provision.

const nodeExists = "a node with this hostname or ipaddr exists already"

// asTold returns what was told if it is another spelling of a value: a provider, or an
// inventory, may know the machine by that only.
func asTold(told any, value string, spelling func(string) string) string {
	if told, ok := told.(string); ok && value != "" && spelling(told) == value {
		return told
	}
	return value
}

// requireNewHostname refuses a hostname that an active node has in another spelling.
// Rows of Duffy 3 keep the one that they have, as inventories may have it too.
func (s *Service) requireNewHostname(ctx context.Context, tx bun.Tx, hostname string) error {
	exists, err := tx.NewSelect().Model((*Node)(nil)).
		Where("retired_at IS NULL").Where("lower(rtrim(hostname, '.')) = ?", hostname).Exists(ctx)
	if err == nil && exists {
		err = fault.Newf(fault.Conflict, nodeExists)
	}
	return err
}

// respell brings the addresses that Duffy 3 wrote into their one spelling, once: it does
// not run beside this process.
func (s *Service) respell(ctx context.Context) error {
	if s.respelt.Load() {
		return nil
	}
	var nodes []*Node
	err := s.db.NewSelect().Model(&nodes).Where("retired_at IS NULL").Where("ipaddr LIKE '%:%'").Scan(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		address := foreign.Address(n.IPAddr)
		if address == "" || address == n.IPAddr {
			continue
		}
		_, err := s.db.NewUpdate().Model((*Node)(nil)).
			Where("id = ?", n.ID).Where("ipaddr = ?", n.IPAddr).Set("ipaddr = ?", address).Exec(ctx)
		if _, taken := db.UniqueViolation(err); taken {
			s.log.ErrorContext(ctx, "two nodes are one machine: retire one of them", "node", n.ID, "ipaddr", n.IPAddr, "other", address)
			continue
		}
		if err != nil {
			return err
		}
	}
	s.respelt.Store(true)
	return nil
}
