// Command duffy-client uses Duffy's REST API: it is duffy client alone, small and
// without a server in it, for the containers of CI jobs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/duffy-ci/duffy/internal/clientcli"
	"github.com/duffy-ci/duffy/internal/completion"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/internal/foreign"
)

type cli struct {
	Config  []string         `name:"config" short:"c" sep:"none" help:"Configuration files or directories, instead of the default ones." placeholder:"FILE_OR_DIR"`
	Version kong.VersionFlag `help:"Show the version and exit."`
	clientcli.Command
	Completion completion.Command `cmd:"" help:"Print a script that has a shell complete commands and flags."`
}

// settings returns what the configuration says about the client.
func (c *cli) settings() (clientcli.Settings, error) {
	client, denied, err := config.LoadClient(c.Config...)
	return clientcli.Settings{
		URL: client.URL, Name: client.AuthName, Key: client.AuthKey, KeyFile: client.AuthKeyFile, Denied: denied,
	}, err
}

// The exit status of errors that have none of their own.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	var c cli
	c.Defaults = c.settings
	parser := kong.Must(&c, kong.Name("duffy-client"),
		kong.Description("Requests nodes from Duffy, in sessions, and gives them back."),
		kong.Vars{"version": "Duffy, version " + builtFrom()},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	completion.Answer(parser)
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "duffy-client: error: %v\nTry 'duffy-client --help'.\n", err)
		os.Exit(exitUsage)
	}
	if err := command.Run(); err != nil {
		fmt.Fprintf(foreign.Writer(os.Stderr), "duffy-client: %v\n", err)
		os.Exit(exitStatus(err))
	}
}

func exitStatus(err error) int {
	var coder kong.ExitCoder
	switch {
	case errors.As(err, new(*kong.ParseError)):
		return exitUsage
	case errors.As(err, &coder):
		return coder.ExitCode()
	}
	return exitFailure
}

// version is set by the linker, see Makefile.
var version string

// builtFrom returns the version of the module this was built from.
func builtFrom() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
