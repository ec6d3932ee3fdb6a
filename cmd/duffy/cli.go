package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/duffy-ci/duffy"
	"github.com/duffy-ci/duffy/internal/completion"
	"github.com/duffy-ci/duffy/internal/config"
	"github.com/duffy-ci/duffy/internal/foreign"
)

// A program is what commands share: the global flags and what depends on them.
type program struct {
	LogLevel logLevel `name:"loglevel" short:"l" help:"Least level to log: trace, debug, info, warning, error or critical." placeholder:"LEVEL"`
	Config   []string `name:"config" short:"c" sep:"none" help:"Configuration files or directories, instead of the default ones." placeholder:"FILE_OR_DIR"`

	stdin          io.Reader // nil is the process's own
	stdout, stderr io.Writer // text from elsewhere may be written to them as it is

	rawStdout, rawStderr io.Writer // for what draws on a terminal

	concurrency int // how many playbooks run at once, zero leaves it to the configuration

	files  *config.Files // nil until they are read
	config *duffy.Config // likewise
}

// Validate implements kong's hook of that name.
func (p *program) Validate() error {
	for _, path := range p.Config {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("--config: %w", err)
		}
	}
	return nil
}

// cli is the grammar of the program. The tag service is on commands that run until
// they are told to stop.
type cli struct {
	*program
	Version versionFlag `help:"Show the version and exit."`

	SetupDB   setupDBCmd     `cmd:"" name:"setup-db" help:"Create the database's tables."`
	Migration migrationCmd   `cmd:"" help:"Handle changes of the database's schema."`
	Serve     serveCmd       `cmd:"" service:"" help:"Serve the REST API."`
	Legacy    serveLegacyCmd `cmd:"" service:"" name:"serve-legacy" help:"Serve the legacy API (/Node/get and so on) over a REST API."`
	Worker    workerCmd      `cmd:"" service:"" passthrough:"" help:"Do the background work."`
	Run       runCmd         `cmd:"" service:"" help:"Do all in one process: serve the REST API, the legacy API if it is configured, and do the background work."`
	Conf      configCmd      `cmd:"" name:"config" help:"Check and dump the configuration."`
	Admin     adminCmd       `cmd:"" help:"Administrate tenants and failed nodes, on the database, without a server."`
	ImportCSV importCSVCmd   `cmd:"" name:"import-csv" help:"Import tenants and the legacy API's user map from CSV files."`
	DevShell  devShellCmd    `cmd:"" name:"dev-shell" help:"Open psql or sqlite3 on the database."`
	Client    clientCmd      `cmd:"" help:"Use the REST API."`
	Demo      demoCmd        `cmd:"" help:"Show Duffy at work, on machines made up for it."`

	Completion completion.Command `cmd:"" help:"Print a script that has a shell complete commands and flags."`
}

// Exit codes of the commands. What a command itself cannot do is exitFailure.
const (
	exitFailure = 1
	exitUsage   = 2
)

// An exitError ends the program with a code, after everything has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit with %d", int(e)) }

func execute(ctx context.Context, p *program, args []string) (code int) {
	c := cli{program: p}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exitError: // kong showed the help or the version
			code = int(r)
		default:
			panic(r)
		}
	}()
	parser := kong.Must(&c, kong.Name("duffy"),
		kong.Description("Keeps pools of machines ready and hands them out to tenants, in sessions."),
		kong.Writers(p.rawStdout, p.rawStderr), kong.Exit(func(code int) { panic(exitError(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(p),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	completion.Answer(parser)
	k, err := parser.Parse(args)
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-----BEGIN ") }) {
		// It was taken for a flag, and the error repeats it.
		err = errors.New("an argument is the content of a key file: expected a public key, as in a file that ends in .pub")
	}
	if slices.ContainsFunc(args, func(arg string) bool { return !utf8.ValidString(arg) }) {
		err = errors.New("an argument is not UTF-8") // kong replaced parts of it
	}
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && isGroup(wrong, args) {
		return p.report(wrong.Context.PrintUsage(false))
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "duffy: error: %v\nTry 'duffy --help'.\n", err)
		return exitUsage
	}
	if os.Getpid() == firstProcess && k.Selected().Tag.Has("service") {
		code, err := asInit(args)
		return cmp.Or(p.report(err), code)
	}
	return p.report(k.Run())
}

// isGroup tells whether a command line ends with the program, or with a command, that
// only has other commands, one of which kong expected. As with Duffy 3 that asks for help.
func isGroup(wrong *kong.ParseError, args []string) bool {
	if len(args) == 0 {
		return true
	}
	group := wrong.Context.Selected()
	return group != nil && !group.Leaf() && args[len(args)-1] == group.Name && strings.HasPrefix(wrong.Error(), "expected ")
}

// report says what went wrong, if it has not been said yet, and returns the exit
// code for it.
func (p *program) report(err error) int {
	var said exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &said):
		return int(said)
	}
	fmt.Fprintf(p.stderr, "duffy: %v\n", err)
	var coder kong.ExitCoder
	var usage *kong.ParseError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &coder):
		return coder.ExitCode()
	}
	return exitFailure
}

// versionFlag prints the version.
type versionFlag bool

// BeforeReset implements kong's hook of that name.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintf(app.Stdout, "Duffy, version %s\n", duffy.Version())
	app.Exit(0)
	return nil
}

// A logLevel is one of Duffy 3's.
type logLevel string

var logLevels = map[logLevel]slog.Level{
	"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo,
	"warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError + 4,
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *logLevel) UnmarshalText(text []byte) error {
	*l = logLevel(strings.ToLower(string(text)))
	if _, ok := logLevels[*l]; !ok {
		return fmt.Errorf("%q is none of trace, debug, info, warning, error, critical", text)
	}
	return nil
}

// paths returns where the configuration is.
func (p *program) paths() []string {
	if len(p.Config) > 0 {
		return p.Config
	}
	return config.DefaultPaths()
}

// load reads the configuration's files, once.
func (p *program) load() (*config.Files, error) {
	if p.files != nil {
		return p.files, nil
	}
	files, err := config.Load(p.paths()...)
	if err != nil {
		return nil, err
	}
	p.files = files
	return files, nil
}

// loadConfig reads the configuration, once.
func (p *program) loadConfig() (duffy.Config, error) {
	if p.config != nil {
		return *p.config, nil
	}
	cfg, err := duffy.LoadConfig(p.paths()...)
	if err != nil {
		return cfg, err
	}
	p.config = &cfg
	return cfg, nil
}

// logger returns a logger that begins at the level of the flag, or else at
// otherwise.
func (p *program) logger(otherwise string) *slog.Logger {
	level := p.LogLevel
	if level == "" {
		level = logLevel(otherwise)
	}
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: logLevels[level]}))
}

// open assembles Duffy for a command that works on the database only, so that who
// runs it need not be able to read the keys that nodes are logged in to with. The
// caller closes it.
func (p *program) open(ctx context.Context) (*duffy.Duffy, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	cfg.SSH.KeyFiles, cfg.SSH.Agent = nil, ""
	return p.assemble(ctx, cfg, p.logger("warning"))
}

// printf prints to standard output. Strings among args stay in their line.
func (p *program) printf(format string, args ...any) {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = foreign.Escape(text)
		}
	}
	fmt.Fprintf(p.stdout, format, args...)
}
