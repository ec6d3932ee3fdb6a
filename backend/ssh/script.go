package ssh

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	gossh "golang.org/x/crypto/ssh"
)

//go:embed authorized_keys.sh
var authorizedKeysScript string

// A script is authorized_keys.sh with its variables.
type script struct {
	tenant  string // keys
	inspect bool   // change nothing

	proof, nonce string // random
}

func newScript(tenant string, inspect bool) script {
	return script{tenant, inspect, rand.Text(), rand.Text()}
}

// verb says what s does to authorized_keys.
func (s script) verb() string {
	if s.inspect {
		return "inspect"
	}
	return "change"
}

func (s script) text() string {
	inspect := ""
	if s.inspect {
		inspect = "yes"
	}
	return fmt.Sprintf("proof=%s\nnonce=%s\ninspect=%s\ntenant=%s\n", s.proof, s.nonce, inspect, shellescape.Quote(s.tenant)) +
		authorizedKeysScript
}

// errUnproven is what a forced command gets, or a login shell that starts something
// else, for all its exit status of 0.
var errUnproven = errors.New("the node was given a script for sh that it did not run to its end: " +
	"a forced command or a login shell's startup file may be in the way")

// others returns the hash of the keys that are not tenants', as a node prints them
// that ran s; empty if there are too many. Anything may be printed before and after.
func (s script) others(printed string) (hash string, err error) {
	mark := "\n" + s.nonce + s.proof + " "
	_, printed, began := strings.Cut(printed, mark+"has")
	keys, _, ended := strings.Cut(printed, mark+"ends\n")
	if !began || !ended {
		return "", errUnproven
	}
	if keys == " too much" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(strings.TrimPrefix(keys, "\n")))
	return hex.EncodeToString(sum[:]), nil
}

// run lets the node run s. The script goes to the standard input of a shell,
// since command lines are there for everybody to see and mean different things
// to different login shells.
func (c *Contextualizer) run(ctx context.Context, client *gossh.Client, s script) (others string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.CommandTimeout,
		fmt.Errorf("it takes longer than %s", c.config.CommandTimeout))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()

	session, err := client.NewSession()
	printed := output{fail: fail}
	if err == nil {
		session.Stdin, session.Stdout, session.Stderr = inTime(ctx, strings.NewReader(s.text())), printed.stream(true), printed.stream(false)
		if err = session.Run("exec sh"); errors.Is(err, io.EOF) { // it did not read the script
			err = errUnproven
		}
	}
	if err == nil {
		others, err = s.others(printed.text())
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	text := printed.said()
	switch {
	case err == nil || text == "":
	case strings.Contains(text, s.proof):
		err = fmt.Errorf("%w: it only repeats the script", err)
	default:
		err = fmt.Errorf("%w: %s", err, text)
	}
	return others, err
}

// inTime returns r for as long as ctx lasts by the clock, whether anybody has
// noticed that it is over or not: a process that was stopped, and goes on when
// others have taken over the node, must not do anything to it.
func inTime(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if end, ok := ctx.Deadline(); ok && time.Now().After(end) {
			return 0, context.DeadlineExceeded
		}
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// plainLines returns keys with the line ends of Unix and without control
// characters, which no authorized_keys file has a use for.
func plainLines(keys string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, keys))
}
