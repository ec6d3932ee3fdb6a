package main

import (
	"fmt"
	"syscall"

	"github.com/duffy-ci/duffy/internal/db"
)

type devShellCmd struct {
	ShellType string `short:"t" help:"Ignored. Duffy 3's shells were those of Python." placeholder:"TYPE"`
}

// Run has the database's shell take the place of this process, so that terminal,
// signals and exit status are the shell's own.
func (c *devShellCmd) Run(p *program) error {
	cfg, err := p.loadConfig()
	if err != nil {
		return err
	}
	shell, err := db.Shell(cfg.Database)
	if err != nil {
		return err
	}
	if c.ShellType != "" {
		fmt.Fprintf(p.stderr, "duffy: --shell-type=%s is ignored, this is %s\n", c.ShellType, shell.Args[0])
	}
	return fmt.Errorf("run %s: %w", shell.Path, syscall.Exec(shell.Path, shell.Args, shell.Environ()))
}
