package main

import (
	"context"
	"log/slog"

	"github.com/duffy-ci/duffy/backend/ssh"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/secretfile"
)

// exposedConfig tells which files of the configuration other users can write, or
// read although there are secrets in them, and what to do.
func exposedConfig(files *config.Files) (errs []error) {
	me := secretfile.Current()
	for _, file := range files.Files() {
		check := me.Trusted
		if file.Secrets {
			check = me.Private
		}
		if err := check(file.Name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// exposedSecrets does so for files that are secret as a whole.
func exposedSecrets(names ...string) (errs []error) {
	me := secretfile.Current()
	for _, name := range names {
		if err := me.Private(name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// warnOfExposed tells the log.
func warnOfExposed(ctx context.Context, log *slog.Logger, errs ...error) {
	for _, err := range errs {
		log.WarnContext(ctx, "other users can get at a file", "err", err)
	}
}

// serverFiles returns the files with secrets that the REST API and workers use.
func serverFiles(c config.Config) []string {
	keys := ssh.Config{KeyFiles: c.SSH.KeyFiles, Agent: c.SSH.Agent}.Files()
	return append(append(keys, db.Files(c.Database.URL)...), tlsFiles(c.App.TLS)...)
}

// tlsFiles returns the key of a certificate, if there is one.
func tlsFiles(t config.TLS) []string {
	if t.Key == "" {
		return nil
	}
	return []string{t.Key}
}

// clientFiles returns the file with the client's key, if there is one.
func clientFiles(c config.Client) []string {
	if c.AuthKeyFile == "" {
		return nil
	}
	return []string{c.AuthKeyFile}
}
