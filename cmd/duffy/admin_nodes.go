package main

import (
	"context"
	"fmt"
	"time"

	"github.com/duffy-ci/duffy"
)

type listFailedNodesCmd struct{}

func (c *listFailedNodesCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't list nodes", func(d *duffy.Duffy) error {
		nodes, err := d.Pools.Failed(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			since := n.CreatedAt
			if n.StateSince != nil {
				since = *n.StateSince
			}
			p.printf("OK: %d: pool=%s hostname=%s ipaddr=%s since=%s: %s\n", n.ID, n.Pool, n.Hostname, n.IPAddr,
				since.Format(time.RFC3339), n.Reason())
		}
		return nil
	})
}

type nodeIDs struct {
	IDs []int64 `arg:"" name:"id" help:"IDs of nodes that are failed."`
}

type retryNodesCmd struct {
	nodeIDs

	Force bool `help:"Deprovision nodes of whose machines nothing is known: the playbook finds them by the ids of nodes alone."`
}

func (c *retryNodesCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't retry "+c.String(), func(d *duffy.Duffy) error {
		if err := d.Pools.RetryNodes(ctx, c.Force, c.IDs...); err != nil {
			return err
		}
		p.printf("OK: %s: state=deprovisioning\n", c)
		return nil
	})
}

type retireNodesCmd struct{ nodeIDs }

func (c *retireNodesCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't retire "+c.String(), func(d *duffy.Duffy) error {
		if err := d.Pools.RetireNodes(ctx, c.IDs...); err != nil {
			return err
		}
		p.printf("OK: %s: state=done\n", c)
		return nil
	})
}

func (c nodeIDs) String() string { return fmt.Sprintf("nodes %v", c.IDs) }
