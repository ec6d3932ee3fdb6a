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
	"slices"
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
	file    string // where keys are, as shellPath returns it

	proof, nonce string // random
}

func newScript(tenant string, inspect bool) script {
	return script{tenant: tenant, inspect: inspect, proof: rand.Text(), nonce: rand.Text()}
}

// shellPath returns an AuthorizedKeysFile of user as a word of a shell.
func shellPath(file, user string) (string, error) {
	if file == "" || strings.HasSuffix(file, "/") || strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%q is not the name of a file without spaces", file)
	}
	var word, text strings.Builder
	for rest := file; rest != ""; {
		if rest[0] != '%' {
			text.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		switch token := rest[:min(2, len(rest))]; token {
		case "%h":
			word.WriteString(shellescape.Quote(text.String()) + `"$HOME"`)
			text.Reset()
		case "%u":
			text.WriteString(user)
		case "%%":
			text.WriteByte('%')
		default:
			return "", fmt.Errorf("%q has %q in it, which is none of %%h, %%u and %%%%", file, token)
		}
		rest = rest[2:]
	}
	return word.String() + shellescape.Quote(text.String()), nil
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
	return fmt.Sprintf("proof=%s\nnonce=%s\ninspect=%s\nkeys=%s\ntenant=%s\n",
		s.proof, s.nonce, inspect, s.file, shellescape.Quote(s.tenant)) + authorizedKeysScript
}

// errUnproven is what a forced command gets, or a login shell that starts something
// else, for all its exit status of 0.
var errUnproven = errors.New("the node was given a script for sh that it did not run to its end: " +
	"a forced command or a login shell's startup file may be in the way")

// others are the keys that are not tenants', as a node prints them. If there are too many
// they are not known.
type others struct {
	text  string
	known bool
}

// hash returns a hash of the keys, empty if they are not known.
func (o others) hash() string {
	if !o.known {
		return ""
	}
	sum := sha256.Sum256([]byte(o.text))
	return hex.EncodeToString(sum[:])
}

// anyOf tells whether one of keys is known to be among them.
func (o others) anyOf(keys []gossh.Signer) bool {
	return slices.ContainsFunc(keys, func(key gossh.Signer) bool {
		return strings.Contains(o.text, authorizedKey(key.PublicKey()))
	})
}

// others reads what a node prints that ran s. Anything may be printed before and after.
func (s script) others(printed string) (others, error) {
	mark := "\n" + s.nonce + s.proof + " "
	_, printed, began := strings.Cut(printed, mark+"has")
	keys, _, ended := strings.Cut(printed, mark+"ends\n")
	switch {
	case !began || !ended:
		return others{}, errUnproven
	case keys == " too much":
		return others{}, nil
	}
	return others{strings.TrimPrefix(keys, "\n"), true}, nil
}

// run lets the node run s. The script goes to the standard input of a shell,
// since command lines are there for everybody to see and mean different things
// to different login shells.
func (c *Contextualizer) run(ctx context.Context, client *gossh.Client, s script) (keys others, err error) {
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
		keys, err = s.others(printed.text())
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
	return keys, err
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
