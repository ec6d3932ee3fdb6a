package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/duffy-ci/duffy/internal/secretfile"
)

// A secretFlag is what a flag says in the open, or the file that another one names,
// which other users of the machine do not see.
type secretFlag struct {
	name, value         string // of the flag, or the argument
	fileName, fileValue string
}

// readSecrets puts what is in their files into flags.
func (p *program) readSecrets(flags ...*secretFlag) error {
	fromStdin := ""
	for _, f := range flags {
		switch {
		case f.fileValue != "" && f.value != "":
			return fmt.Errorf("%s and %s: only one of them can be given", f.name, f.fileName)
		case f.fileValue == secretfile.Stdin && fromStdin != "":
			return fmt.Errorf("%s and %s: only one of them can be standard input", fromStdin, f.fileName)
		case f.fileValue == secretfile.Stdin:
			fromStdin = f.fileName
		}
	}
	for _, f := range flags {
		if f.fileValue == "" {
			continue
		}
		secret, err := secretfile.Read(f.fileValue, cmp.Or[io.Reader](p.stdin, os.Stdin))
		if err != nil {
			return fmt.Errorf("%s: %w", f.fileName, err)
		}
		f.value = secret
	}
	return nil
}
