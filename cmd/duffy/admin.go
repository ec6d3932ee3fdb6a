package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/fault"
	"github.com/duffy-ci/duffy/internal/foreign"
	"github.com/duffy-ci/duffy/tenant"
)

type adminCmd struct {
	ListTenants  listTenantsCmd  `cmd:"" name:"list-tenants" help:"List tenants."`
	ShowTenant   showTenantCmd   `cmd:"" name:"show-tenant" help:"Show a tenant."`
	CreateTenant createTenantCmd `cmd:"" name:"create-tenant" help:"Create a tenant."`
	RetireTenant retireTenantCmd `cmd:"" name:"retire-tenant" help:"Retire or unretire a tenant."`
	UpdateTenant updateTenantCmd `cmd:"" name:"update-tenant" help:"Change a tenant."`
	Keys         keysCmd         `cmd:"" help:"Handle the API keys that a tenant has beside its primary key."`

	ListFailedNodes listFailedNodesCmd `cmd:"" name:"list-failed-nodes" help:"List nodes that are failed, with the reason."`
	RetryNodes      retryNodesCmd      `cmd:"" name:"retry-nodes" help:"Have failed nodes deprovisioned."`
	RetireNodes     retireNodesCmd     `cmd:"" name:"retire-nodes" help:"Forget failed nodes of which nothing is left."`

	ShowInstallation showInstallationCmd `cmd:"" name:"show-installation" help:"Show the installation id, which is in the names of machines."`
	NewInstallation  newInstallationCmd  `cmd:"" name:"new-installation" help:"Declare the database a copy: give it an installation id of its own."`
}

// about runs fn on the database and reports its failure the way of Duffy 3, with
// what the command is about.
func (p *program) about(ctx context.Context, what string, fn func(*duffy.Duffy) error) error {
	d, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Check(ctx); err != nil {
		return err
	}
	err = fn(d)
	if err == nil {
		return nil
	}
	detail := err.Error()
	var f *fault.Error
	if errors.As(err, &f) {
		detail = f.Detail
	}
	fmt.Fprintf(p.stderr, "ERROR: %s\nERROR DETAIL: %s\n", foreign.Escape(what), foreign.Escape(detail))
	return exitError(exitFailure)
}

type listTenantsCmd struct {
	Quiet bool `negatable:"" help:"Show names only."`
	All   bool `help:"Show retired tenants too."`
	// Active is what Duffy 3 calls the opposite of All.
	Active bool `help:"Show active tenants only, which is the default."`
}

func (c *listTenantsCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, "couldn't list tenants", func(d *duffy.Duffy) error {
		tenants, err := d.Tenants.List(ctx)
		if err != nil {
			return err
		}
		slices.SortFunc(tenants, func(a, b *tenant.Tenant) int { return cmp.Compare(a.Name, b.Name) })
		prefix := "OK: "
		if c.Quiet {
			prefix = ""
		}
		for _, t := range tenants {
			if c.All || t.Active() {
				p.printf("%s%s\n", prefix, t.Name)
			}
		}
		return nil
	})
}

type showTenantCmd struct {
	Name string `arg:"" help:"Name of the tenant."`
}

func (c *showTenantCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, c.Name, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Name)
		if err != nil {
			return err
		}
		p.printf("OK: %s: id=%d %s active=%s created_at=%s retired_at=%s\n", t.Name, t.ID,
			limits(d, t), python(t.Active()), python(t.CreatedAt), python(t.RetiredAt))
		return nil
	})
}

type createTenantCmd struct {
	IsAdmin            bool         `negatable:"" help:"Make the tenant an administrator."`
	NodeQuota          quotaFlag    `help:"How many nodes the tenant can use at a time, or none for the default." placeholder:"N|none"`
	SessionLifetime    lifetimeFlag `help:"How long sessions of the tenant live, or none for the default." placeholder:"DURATION|none"`
	SessionLifetimeMax lifetimeFlag `help:"How long they can be extended to, or none for the default." placeholder:"DURATION|none"`
	SSHKeyFile         string       `aliases:"key-file" help:"File with its ssh key, or - for standard input, instead of the argument." placeholder:"FILE"`
	Name               string       `arg:"" help:"Name of the tenant."`
	SSHKey             string       `arg:"" optional:"" help:"Its ssh key, as in an authorized_keys file."`
}

// Validate implements kong's hook of that name.
func (c *createTenantCmd) Validate() error {
	if c.SSHKey == "" && c.SSHKeyFile == "" {
		return errors.New(`expected "<ssh-key>", or --ssh-key-file`)
	}
	return nil
}

func (c *createTenantCmd) Run(ctx context.Context, p *program) error {
	sshKey := secretFlag{"SSH-KEY", c.SSHKey, "--ssh-key-file", c.SSHKeyFile}
	if err := p.readSecrets(&sshKey); err != nil {
		return err
	}
	return p.about(ctx, c.Name, func(d *duffy.Duffy) error {
		_, key, err := d.Tenants.Create(ctx, tenant.Tenant{
			Name: c.Name, SSHKey: sshKey.value, IsAdmin: c.IsAdmin, NodeQuota: c.NodeQuota.value,
			SessionLifetime: c.SessionLifetime.value, SessionLifetimeMax: c.SessionLifetimeMax.value,
		})
		if err != nil {
			return err
		}
		p.printf("OK: %s: %s\n", c.Name, key)
		return nil
	})
}

type retireTenantCmd struct {
	Retire   bool   `help:"Retire the tenant, which is the default." xor:"retire"`
	Unretire bool   `help:"Make a retired tenant active again." xor:"retire"`
	Name     string `arg:"" help:"Name of the tenant."`
}

func (c *retireTenantCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, c.Name, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Name)
		if err != nil {
			return err
		}
		change := d.Sessions.RetireTenant
		if c.Unretire {
			change = d.Tenants.Unretire
		}
		if t, err = change(ctx, t.ID); err != nil {
			return err
		}
		p.printf("OK: %s: active=%s\n", c.Name, python(t.Active()))
		return nil
	})
}

type updateTenantCmd struct {
	SSHKey             string       `help:"New ssh key." placeholder:"KEY"`
	SSHKeyFile         string       `help:"File with the new ssh key, or - for standard input." placeholder:"FILE"`
	APIKey             string       `help:"New primary API key, or reset for a random one; other users of this machine can see it here, but not in a file." placeholder:"UUID|reset"`
	APIKeyFile         string       `help:"File with the new primary API key, or - for standard input." placeholder:"FILE"`
	IsAdmin            *bool        `negatable:"" help:"Make the tenant an administrator, or no longer."`
	NodeQuota          quotaFlag    `help:"How many nodes the tenant can use at a time, or none for the default." placeholder:"N|none"`
	SessionLifetime    lifetimeFlag `help:"How long sessions of the tenant live, or none for the default." placeholder:"DURATION|none"`
	SessionLifetimeMax lifetimeFlag `help:"How long they can be extended to, or none for the default." placeholder:"DURATION|none"`
	Name               string       `arg:"" help:"Name of the tenant."`
}

func (c *updateTenantCmd) Run(ctx context.Context, p *program) error {
	sshKey := secretFlag{"--ssh-key", c.SSHKey, "--ssh-key-file", c.SSHKeyFile}
	apiKey := secretFlag{"--api-key", c.APIKey, "--api-key-file", c.APIKeyFile}
	if err := p.readSecrets(&sshKey, &apiKey); err != nil {
		return err
	}
	u, err := c.update(sshKey.value, apiKey.value)
	if err != nil {
		return err
	}
	if u == (tenant.Update{}) {
		fmt.Fprintln(p.stderr, "ERROR: Either --ssh-key, --api-key, --node-quota, --session-lifetime or --session-lifetime-max must be set.")
		return exitError(exitFailure)
	}
	return p.about(ctx, c.Name, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Name)
		if err != nil {
			return err
		}
		t, newKey, err := d.Tenants.Update(ctx, t.ID, u)
		if err != nil {
			return err
		}
		shown := apiv1.Masked
		if newKey != nil {
			shown = newKey.String()
		}
		admin := ""
		if c.IsAdmin != nil {
			admin = " is_admin=" + python(t.IsAdmin)
		}
		p.printf("OK: %s: ssh_key=%s api_key=%s %s%s\n", c.Name, apiv1.Masked, shown, limits(d, t), admin)
		return nil
	})
}

func (c *updateTenantCmd) update(sshKey, apiKey string) (u tenant.Update, err error) {
	u.IsAdmin = c.IsAdmin
	if sshKey != "" {
		u.SSHKey = &sshKey
	}
	switch apiKey {
	case "":
	case "reset":
		u.ResetAPIKey = true
	default:
		key, err := uuid.Parse(apiKey)
		if err != nil {
			return u, errors.New("--api-key: expected a UUID or reset")
		}
		u.APIKey = &key
	}
	if c.NodeQuota.set {
		u.NodeQuota = &c.NodeQuota.value
	}
	if c.SessionLifetime.set {
		u.SessionLifetime = &c.SessionLifetime.value
	}
	if c.SessionLifetimeMax.set {
		u.SessionLifetimeMax = &c.SessionLifetimeMax.value
	}
	return u, nil
}
