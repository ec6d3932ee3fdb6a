// Package clientcli is the command line of the REST API's client: the grammar
// of its commands, for kong, and the formats they print in. It keeps the names,
// flags and output of Duffy 3's client.
//
// A command prints one document on standard output and nothing else. An error
// that the API answered with is such a document, {"error": {"detail": ...}}, and
// no failure: scripts look into the document. Everything else that goes wrong is
// an error of Run, after which standard output is empty.
package clientcli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/duffy-ci/duffy/httpapi/client"
	"github.com/duffy-ci/duffy/internal/foreign"
	"github.com/duffy-ci/duffy/internal/secretfile"
)

// The exit status of errors that Run returns, see [kong.ExitCoder]. It is 1 for
// those that have none.
const (
	exitRefused     = 3
	exitInterrupted = 130
)

// Settings say where the API is and who asks.
type Settings struct {
	URL  string // with the API's path, http://127.0.0.1:8080/api/v1
	Name string // of the tenant
	Key  string // the tenant's API key

	KeyFile string // that has it in it, if Key is empty

	Denied error // why not all of the configuration could be read, nil if it was
}

// Command is a kong command with the client's commands below it, or the whole
// grammar of a program. Run needs a [context.Context] to be bound, which
// interrupts it. Some of its errors are a [kong.ExitCoder].
//
// A mistake in the arguments is a *[kong.ParseError]; Duffy 3 exits with status 2
// then.
type Command struct {
	URL      string `env:"DUFFY_URL" placeholder:"URL" help:"Base URL of the Duffy API, such as http://host:8080/api/v1."`
	AuthName string `env:"DUFFY_AUTH_NAME" placeholder:"NAME" help:"Name of the tenant."`
	AuthKey  string `env:"DUFFY_AUTH_KEY" placeholder:"KEY" help:"API key of the tenant; other users of this machine can see it here, but not in the environment or in a file."`

	AuthKeyFile string `placeholder:"FILE" help:"File with the API key of the tenant, or - for standard input."`

	Format     format `default:"json" placeholder:"FORMAT" help:"How to print results: json, yaml or flat (shell assignments, one line a node or pool)."`
	ExitStatus bool   `help:"Exit with status 3 if the API answers with an error."`

	// Defaults returns the settings of the configuration. It is asked only if
	// flags and environment leave something open; nil is no configuration.
	Defaults func() (Settings, error) `kong:"-"`

	// Stdin is read for the key if AuthKeyFile says so; nil is the process's own.
	Stdin io.Reader `kong:"-"`

	ListSessions   listSessions   `cmd:"" help:"List the tenant's active sessions."`
	ShowSession    showSession    `cmd:"" help:"Show a session."`
	RequestSession requestSession `cmd:"" help:"Request a session with nodes."`
	ExtendSession  extendSession  `cmd:"" help:"Change when a session expires."`
	RetireSession  retireSession  `cmd:"" help:"Retire a session."`
	ListPools      listPools      `cmd:"" help:"List the pools of nodes."`
	ShowPool       showPool       `cmd:"" help:"Show a pool of nodes and how many are in which state."`
}

// ProvideCommand binds c to the commands below it: kong does so by itself only
// where c is not embedded.
func (c *Command) ProvideCommand() *Command { return c }

// run asks the API and prints the answer.
func (c *Command) run(ctx context.Context, k *kong.Context, method, path string, body any) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	done := showWaiting(k.Stderr)
	answer, err := api.Do(ctx, method, path, body)
	done()

	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Body != nil:
		if answer, err = errorDocument(refused); err != nil {
			return err
		}
	case err != nil && ctx.Err() != nil:
		return &exitError{exitInterrupted, fmt.Errorf("interrupted: %w", err)}
	case err != nil:
		return err
	}
	if err := c.Format.print(foreign.Writer(k.Stdout), answer); err != nil {
		return err
	}
	if refused != nil && c.ExitStatus {
		return &exitError{exitRefused, refused}
	}
	return nil
}

func (c *Command) client() (*client.Client, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	return client.New(s.URL, client.Config{Tenant: s.Name, Key: s.Key})
}

// settings are those of flags and environment, else of the configuration.
func (c *Command) settings() (Settings, error) {
	s := Settings{URL: c.URL, Name: c.AuthName, Key: c.AuthKey, KeyFile: c.AuthKeyFile}
	if c.Defaults != nil && (s.URL == "" || s.Name == "" || s.Key == "" && s.KeyFile == "") {
		d, err := c.Defaults()
		if err != nil {
			return Settings{}, err
		}
		s.URL, s.Name, s.Denied = cmp.Or(s.URL, d.URL), cmp.Or(s.Name, d.Name), d.Denied
		if s.Key == "" && s.KeyFile == "" {
			s.Key, s.KeyFile = d.Key, d.KeyFile
		}
	}
	if err := s.missing(); err != nil {
		return Settings{}, err
	}
	return s, s.readKey(cmp.Or[io.Reader](c.Stdin, os.Stdin))
}

// readKey reads the key's file. What was asked for by a flag wins over a key from
// the environment.
func (s *Settings) readKey(stdin io.Reader) (err error) {
	if s.KeyFile != "" {
		if s.Key, err = secretfile.Read(s.KeyFile, stdin); err != nil {
			return fmt.Errorf("the tenant's key: %w", err)
		}
	}
	return nil
}

// missing tells what neither flags nor environment nor configuration have.
func (s *Settings) missing() error {
	var missing []string
	if s.URL == "" {
		missing = append(missing, "the API's URL (--url, DUFFY_URL or client.url)")
	}
	if s.Name == "" {
		missing = append(missing, "the tenant's name (--auth-name, DUFFY_AUTH_NAME or client.auth.name)")
	}
	if s.Key == "" && s.KeyFile == "" {
		missing = append(missing, "the tenant's key (--auth-key-file, --auth-key, DUFFY_AUTH_KEY, client.auth.key-file or client.auth.key)")
	}
	switch {
	case missing == nil:
		return nil
	case s.Denied != nil:
		return fmt.Errorf("neither flags nor environment nor the configuration that can be read have %s; what cannot be read: %w",
			strings.Join(missing, ", "), s.Denied)
	}
	return fmt.Errorf("neither flags nor environment nor configuration have %s", strings.Join(missing, ", "))
}

// errorDocument is how an error that the API answered with is printed: all that
// it said, with a detail that is text even if Duffy 3 had put a list there.
func errorDocument(refused *client.Error) (json.RawMessage, error) {
	var problem struct{ Detail string }
	if json.Unmarshal(refused.Body, &problem) == nil {
		return slices.Concat([]byte(`{"error":`), refused.Body, []byte(`}`)), nil
	}
	return json.Marshal(map[string]any{"error": map[string]string{"detail": refused.Detail}})
}

// exitError is an error that calls for a certain exit status.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }
func (e *exitError) ExitCode() int { return e.status }
