package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/legacy"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the configuration."`
	Dump  configDumpCmd  `cmd:"" help:"Dump the merged configuration."`
}

type configCheckCmd struct{}

func (configCheckCmd) Run(ctx context.Context, p *program) error {
	files, err := p.load()
	if err != nil {
		return err
	}
	keys := files.Keys()
	if len(keys) == 0 {
		p.printf("Configuration is empty.\n")
		return nil
	}
	cfg, err := p.loadConfig()
	if err != nil {
		return err
	}
	if err := cfg.CheckPools(duffy.Options{}); err != nil {
		return err
	}
	if err := cfg.ProbePools(ctx, duffy.Options{}); err != nil {
		return err
	}
	if _, err := p.newQueue(cfg, nil); err != nil {
		return err
	}
	if _, err := newLegacy(files, legacy.Config{}); err != nil {
		return err
	}
	c := files.Config()
	if key := c.Client.AuthKey; key != "" && uuid.Validate(key) != nil {
		return files.At(errors.New("expected a UUID, as Duffy 3 does: for a key of another form say in key-file which file it is in"), "client", "auth", "key")
	}
	_, appErr := loadCertificates(files, "app", c.App.TLS)
	_, legacyErr := loadCertificates(files, "metaclient", c.Metaclient.TLS)
	if err := errors.Join(appErr, legacyErr); err != nil {
		return err
	}
	warnings, err := checkKeys(ctx, cfg)
	if err != nil {
		return err
	}
	secrets := slices.Concat(serverFiles(c), tlsFiles(c.Metaclient.TLS), clientFiles(c.Client))
	for _, warning := range slices.Concat(warnings, cfg.Warnings(duffy.Options{}), exposedConfig(files), exposedSecrets(secrets...)) {
		fmt.Fprintf(p.stderr, "duffy: warning: %v\n", warning)
	}
	p.printf("OK.\nValidated configuration subkeys: %s\n", strings.Join(keys, ", "))
	return nil
}

// checkKeys checks the keys to nodes where there are pools.
func checkKeys(ctx context.Context, cfg duffy.Config) (warnings []error, err error) {
	if len(cfg.Pools.Concrete()) == 0 {
		return nil, nil
	}
	warning, err := cfg.CheckKeys(ctx)
	if warning != nil {
		warnings = []error{warning}
	}
	return warnings, err
}

type configDumpCmd struct{}

func (configDumpCmd) Run(p *program) error {
	files, err := p.load()
	if err != nil {
		return err
	}
	return files.Dump(p.stdout)
}
