package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/internal/duration"
	"github.com/duffy-ci/duffy/tenant"
)

type keysCmd struct {
	List   listKeysCmd  `cmd:"" help:"List the keys of a tenant that are not retired."`
	Create createKeyCmd `cmd:"" help:"Create another key for a tenant and show it, this once."`
	Retire retireKeyCmd `cmd:"" help:"Retire a key of a tenant. The primary key can only be changed, by update-tenant."`
}

type listKeysCmd struct {
	All    bool   `help:"List retired keys too."`
	Tenant string `arg:"" help:"Name of the tenant."`
}

func (c *listKeysCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, c.Tenant, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Tenant)
		if err != nil {
			return err
		}
		keys, err := d.Tenants.Keys(ctx, t.ID)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if c.All || k.RetiredAt == nil {
				p.printf("OK: %s: %s\n", t.Name, aboutKey(k))
			}
		}
		return nil
	})
}

type createKeyCmd struct {
	Name     string     `help:"Name of the key, second if it is not given." placeholder:"NAME"`
	Expires  expiryFlag `help:"When the key stops working: a time, or how long from now." placeholder:"DURATION|TIME"`
	ReadOnly bool       `help:"Allow no changes with the key."`
	Tenant   string     `arg:"" help:"Name of the tenant."`
}

func (c *createKeyCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, c.Tenant, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Tenant)
		if err != nil {
			return err
		}
		n := tenant.NewKey{Name: c.Name, ExpiresAt: c.Expires.from(time.Now())}
		if c.ReadOnly {
			n.Scope = tenant.ReadOnly
		}
		k, key, err := d.Tenants.CreateKey(ctx, t.ID, n)
		if err != nil {
			return err
		}
		p.printf("OK: %s: api_key=%s %s\n", t.Name, key, aboutKey(k))
		return nil
	})
}

type retireKeyCmd struct {
	Name   string `required:"" help:"Name of the key." placeholder:"NAME"`
	Tenant string `arg:"" help:"Name of the tenant."`
}

func (c *retireKeyCmd) Run(ctx context.Context, p *program) error {
	return p.about(ctx, c.Tenant, func(d *duffy.Duffy) error {
		t, err := d.Tenants.GetByName(ctx, c.Tenant)
		if err != nil {
			return err
		}
		k, err := d.Tenants.RetireKey(ctx, t.ID, c.Name)
		if err != nil {
			return err
		}
		p.printf("OK: %s: %s\n", t.Name, aboutKey(k))
		return nil
	})
}

// aboutKey shows everything about a key but the key.
func aboutKey(k *tenant.Key) string {
	return fmt.Sprintf("name=%s scope=%s created_at=%s expires_at=%s last_used_at=%s retired_at=%s", k.Name, k.Scope,
		python(k.CreatedAt), python(k.ExpiresAt), python(k.LastUsedAt), python(k.RetiredAt))
}

// An expiryFlag is a time, or how long there is until then.
type expiryFlag struct {
	at *time.Time
	in *time.Duration
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *expiryFlag) UnmarshalText(text []byte) error {
	*f = expiryFlag{}
	if at, err := apiv1.ParseTime(string(text)); err == nil {
		f.at = &at.Time
		return nil
	}
	in, err := duration.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%q is neither a time such as 2026-11-22T15:43:13Z nor a duration such as 90d", text)
	}
	f.in = &in
	return nil
}

func (f *expiryFlag) from(now time.Time) *time.Time {
	if f.in != nil {
		at := now.Add(*f.in)
		return &at
	}
	return f.at
}
