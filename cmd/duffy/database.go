package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/db"
)

type setupDBCmd struct {
	TestData bool `negatable:"" help:"Add tenants and nodes to test with. Their keys are known to everybody."`
}

func (c *setupDBCmd) Run(ctx context.Context, p *program) error {
	d, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	tables, err := db.HasTables(ctx, d.DB())
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		fmt.Fprintf(p.stderr, "Tables already present: %s\nRefusing to change database schema.\n", strings.Join(tables, ", "))
		return exitError(exitFailure)
	}
	p.printf("Creating database schema\n")
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	if c.TestData {
		return p.addTestData(ctx, d.DB())
	}
	return nil
}

type migrationCmd struct {
	Create    migrationCreateCmd    `cmd:"" help:"Not here: changes of the schema come with Duffy."`
	DBVersion migrationDBVersionCmd `cmd:"" name:"db-version" help:"Show the version of the database's schema."`
	Upgrade   migrationUpgradeCmd   `cmd:"" help:"Upgrade the database's schema, also Duffy 3's."`
	Downgrade migrationDowngradeCmd `cmd:"" help:"Downgrade the database's schema, at most to Duffy 3's."`
}

type migrationCreateCmd struct {
	Autogenerate bool     `negatable:"" hidden:""`
	Comment      []string `arg:"" help:"Ignored."`
}

func (migrationCreateCmd) Run() error {
	return errors.New("changes of the schema come with Duffy, see internal/db/migrations in its source")
}

type migrationDBVersionCmd struct{}

func (migrationDBVersionCmd) Run(ctx context.Context, p *program) error {
	d, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	revision, err := d.Revision(ctx)
	if err != nil {
		return err
	}
	p.printf("%s\n", shown(revision))
	return nil
}

type migrationUpgradeCmd struct {
	Version string `arg:"" default:"head" help:"Version to upgrade to."`
}

func (c *migrationUpgradeCmd) Run(ctx context.Context, p *program) error {
	d, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	from, to, err := d.Upgrade(ctx, c.Version)
	if err != nil {
		return err
	}
	if from == to {
		p.printf("Nothing to upgrade.\n")
	} else {
		p.printf("Upgraded to: %s\n", shown(to))
	}
	return nil
}

type migrationDowngradeCmd struct {
	Version string `arg:"" default:"-1" help:"Version to downgrade to, or -N for so many steps."`
}

func (c *migrationDowngradeCmd) Run(ctx context.Context, p *program) error {
	d, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	from, to, err := d.Downgrade(ctx, c.Version)
	if err != nil {
		return err
	}
	if from == to {
		p.printf("Nothing to downgrade.\n")
	} else {
		p.printf("Downgraded to: %s\n", shown(to))
	}
	return nil
}

// shown is a revision in the words of Duffy 3, in which additions of later
// versions have no name.
func shown(r duffy.Revision) string {
	if r.Head {
		return r.Duffy3 + " (head)"
	}
	return r.Duffy3
}
