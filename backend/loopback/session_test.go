package loopback_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/backend/backendtest"
	"github.com/duffy-ci/duffy/backend/loopback"
)

func TestCommands(t *testing.T) {
	t.Setenv("DUFFY_TEST_SECRET", "s3cret")
	client, home := machine(t)

	for _, c := range []struct {
		command, stdin, stdout, stderr string
		status                         int
	}{
		{command: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{command: "exit 42", status: 42},
		{command: "kill -9 $$", status: 137},
		{command: "no-such-command", stderr: "not found", status: 127},
		{command: "cat", stdin: "to and fro", stdout: "to and fro"},
		{command: `echo "$HOME $PWD $USER"`, stdout: home + " " + home + " root\n"},
		{command: `echo "[$DUFFY_TEST_SECRET]"`, stdout: "[]\n"},
		{command: "", stdin: "echo hello; exit 3", stdout: "hello\n", status: 3},
		{command: "sleep 1000 & echo started", stdout: "started\n"},
	} {
		session := newSession(t, client)
		var stdout, stderr bytes.Buffer
		session.Stdin, session.Stdout, session.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
		var err error
		if c.command == "" {
			require.NoError(t, session.Shell())
			err = session.Wait()
		} else {
			err = session.Run(c.command)
		}
		require.Equal(t, c.status, status(t, err), "%q", c.command)
		require.Equal(t, c.stdout, stdout.String(), "%q", c.command)
		require.Contains(t, stderr.String(), c.stderr, "%q", c.command)
	}
}

func TestClientKeepsStdinOpen(t *testing.T) {
	t.Parallel()
	client, _ := machine(t)
	session := newSession(t, client)
	_, err := session.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, session.Run("true"))
}

func TestDisconnectKillsTheCommand(t *testing.T) {
	t.Parallel()
	client, _ := machine(t)
	session := newSession(t, client)
	out, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("sh -c 'echo $$; exec sleep 1000'; true"))
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	require.True(t, alive(pid))

	client.Close()
	require.Eventually(t, func() bool { return !alive(pid) }, time.Minute, 10*time.Millisecond)
}

func TestFileTransfer(t *testing.T) {
	t.Parallel()
	client, _ := machine(t)
	session := newSession(t, client)
	stdin, err := session.StdinPipe()
	require.NoError(t, err)
	stdout, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.RequestSubsystem("sftp"))

	const initialize, version = 1, 2 // message types of SFTP
	_, err = stdin.Write([]byte{0, 0, 0, 5, initialize, 0, 0, 0, 3})
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(stdout, answer)
	require.NoError(t, err)
	require.EqualValues(t, version, answer[4])
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	client, _ := machine(t)
	session := newSession(t, client)
	require.NoError(t, session.RequestPty("xterm", 33, 111, ssh.TerminalModes{}))
	stdin, err := session.StdinPipe()
	require.NoError(t, err)
	stdout, err := session.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, session.Shell())

	_, err = io.WriteString(stdin, "echo term=$TERM; tty; until stty size | grep -q '44 122'; do sleep 0.01; done; stty size; exit 5\n")
	require.NoError(t, err)
	require.NoError(t, session.WindowChange(44, 122))
	shown, err := io.ReadAll(stdout)
	require.NoError(t, err)
	require.Equal(t, 5, status(t, session.Wait()))
	require.Contains(t, string(shown), "[root@127.77.0.1]# ")
	require.Contains(t, string(shown), "term=xterm")
	require.Contains(t, string(shown), "/dev/pts/")
	require.Contains(t, string(shown), "\r\n44 122\r\n")
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	client, home := machine(t)
	session := newSession(t, client)
	require.NoError(t, session.Setenv("LC_TEST", "of the client"))
	require.NoError(t, session.Setenv("HOME", "/nonexistent"))
	out, err := session.Output(`echo "$LC_TEST, $HOME"`)
	require.NoError(t, err)
	require.Equal(t, "of the client, "+home+"\n", string(out))
}

// TestRefusedRequests asks for what nodes do not have, after which the session and
// the connection still work.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	client, _ := machine(t)
	_, err := client.Dial("tcp", "127.0.0.1:1")
	var refused *ssh.OpenChannelError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, ssh.UnknownChannelType, refused.Reason)
	_, err = client.Listen("tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "denied")

	session := newSession(t, client)
	require.Error(t, session.RequestSubsystem("netconf"))
	for _, request := range []string{"pty-req", "env", "exec", "window-change", "unknown"} {
		ok, err := session.SendRequest(request, true, []byte{0, 0, 0, 9, 'x'}) // which is cut off
		require.NoError(t, err)
		require.False(t, ok, request)
	}
	stdin, err := session.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, session.Start("cat; exit 7"))
	for _, request := range []string{"shell", "env", "pty-req"} {
		ok, err := session.SendRequest(request, true, nil)
		require.NoError(t, err)
		require.False(t, ok, request)
	}
	require.NoError(t, stdin.Close())
	require.Equal(t, 7, status(t, session.Wait()))
}

// machine returns a connection to a node, and the home directory of its root.
func machine(t *testing.T) (client *ssh.Client, home string) {
	t.Helper()
	key := backendtest.NewKey(t)
	dir := t.TempDir()
	b := open(t, loopback.Config{Dir: dir, AuthorizedKey: backendtest.PublicKey(key)})
	return login(t, provision(t, b, 1)[0], key), filepath.Join(dir, "node-1")
}

func status(t *testing.T, err error) int {
	t.Helper()
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus()
	}
	require.NoError(t, err)
	return 0
}
