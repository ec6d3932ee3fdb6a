package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/tenant"
)

// importCSVCmd has the commands of Duffy 3's script import_csv.py.
type importCSVCmd struct {
	ImportDB        importDBCmd        `cmd:"" name:"import-db" default:"withargs" help:"Add the tenants to the database, or without --commit only say what would be done. This is what import-csv does by itself."`
	GenerateUsermap generateUsermapCmd `cmd:"" name:"generate-usermap" help:"Print the configuration that maps the legacy API's keys to tenants."`
}

type csvFiles struct {
	UsersFile    string `arg:"" help:"CSV file with the columns key, project, tenant, created and limit. Fields are quoted by '."`
	UserkeysFile string `arg:"" help:"CSV file with the columns id, key and ssh key."`
}

type importDBCmd struct {
	Commit bool `help:"Add the tenants: all of them, or none if anything goes wrong." xor:"commit"`
	DryRun bool `help:"Only say what would be done, which is the default." xor:"commit"`
	csvFiles
}

// Run leaves tenants that exist alone.
func (c *importDBCmd) Run(ctx context.Context, p *program) error {
	users, err := readLegacyUsers(c.UsersFile, c.UserkeysFile)
	if err != nil {
		return err
	}
	added, note := "would be added", ". Nothing was changed, --commit does it"
	if c.Commit {
		added, note = "added", ""
	}
	return p.about(ctx, "couldn't import tenants", func(d *duffy.Duffy) error {
		existing, err := d.Tenants.List(ctx)
		if err != nil {
			return err
		}
		var imports []tenant.Import
		var report strings.Builder
		for _, u := range users {
			unfit := u.unfit()
			if unfit == "" && slices.ContainsFunc(existing, func(t *tenant.Tenant) bool { return t.Name == u.tenant }) {
				unfit = "exists"
			}
			if unfit != "" {
				fmt.Fprintf(&report, "%s: skipped, %s\n", u.tenant, unfit)
				continue
			}
			fmt.Fprintf(&report, "%s: %s\n", u.tenant, added)
			imports = append(imports, u.tenantWithKey())
		}
		if c.Commit {
			if err := d.Tenants.Import(ctx, imports); err != nil {
				return err
			}
		}
		p.printf("%s%d %s, %d skipped%s.\n", &report, len(imports), added, len(users)-len(imports), note)
		return nil
	})
}

type generateUsermapCmd struct {
	Output string `short:"o" help:"Write it to a new file, which only you can read: it has keys in it." placeholder:"FILE"`
	csvFiles
}

func (c *generateUsermapCmd) Run(p *program) error {
	users, err := readLegacyUsers(c.UsersFile, c.UserkeysFile)
	if err != nil {
		return err
	}
	usermap := map[string]string{}
	for _, u := range users {
		if unfit := u.unfit(); unfit != "" {
			fmt.Fprintf(p.stderr, "%s: skipped, %s\n", u.tenant, unfit)
			continue
		}
		usermap[u.key] = u.tenant
	}
	text, err := yaml.Dump(map[string]any{"metaclient": map[string]any{"usermap": usermap}})
	if err != nil {
		return err
	}
	if c.Output == "" {
		_, err := p.stdout.Write(text)
		return err
	}
	file, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
