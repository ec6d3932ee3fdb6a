package main

import (
	"context"

	"github.com/duffy-ci/duffy"
)

type showInstallationCmd struct{}

func (showInstallationCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't show the installation", func(d *duffy.Duffy) error {
		id, err := d.Pools.Installation(ctx)
		if err != nil {
			return err
		}
		p.printf("OK: %s\n", id)
		return nil
	})
}

type newInstallationCmd struct {
	ForgetNodes bool `help:"End all sessions and forget all nodes, without touching the machines, which are the original's."`
}

func (c *newInstallationCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't make a new installation", func(d *duffy.Duffy) error {
		before, err := d.Pools.Installation(ctx)
		if err != nil {
			before = "none" // which this mends
		}
		if c.ForgetNodes {
			if err := d.Sessions.ForgetNodes(ctx); err != nil {
				return err
			}
		}
		nodes, err := d.Pools.Nodes(ctx)
		if err != nil {
			return err
		}
		id, err := d.Pools.NewInstallation(ctx)
		if err != nil {
			return err
		}
		p.printf("OK: %s: before: %s\n", id, before)
		p.printf("Machines that are made from now on are named duffy-%s-ID.\n", id)
		if len(nodes) > 0 {
			p.printf("The %d nodes that exist stay, and are known by what provisioning told about them. If this is a copy, "+
				"their machines are the original's: forget them here with new-installation --forget-nodes before anything works on this database.\n",
				len(nodes))
		}
		return nil
	})
}
