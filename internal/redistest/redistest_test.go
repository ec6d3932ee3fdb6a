package redistest_test

import (
	"bufio"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/redistest"
)

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	for range 2 {
		s.Start(t)
		s.Do(t, "PING")
		s.Stop()
		u, err := url.Parse(s.URL())
		require.NoError(t, err)
		require.NoDirExists(t, filepath.Dir(u.Path))
	}
}

const killed = "DUFFY_TEST_KILLED"

func TestServerEndsWithTestBinary(t *testing.T) {
	if os.Getenv(killed) != "" {
		_, err := os.Stdout.WriteString("\n" + redistest.URL(t) + "\n")
		require.NoError(t, err)
		select {}
	}
	t.Parallel()
	redistest.URL(t) // or skip
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerEndsWithTestBinary$")
	cmd.Env = append(os.Environ(), killed+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var dir string
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		if u, found := strings.CutPrefix(lines.Text(), "redis-socket://"); found {
			dir = filepath.Dir(u)
		}
	}
	require.DirExists(t, dir)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	// The directory is removed after the server has ended.
	require.Eventually(t, func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) },
		time.Minute, 20*time.Millisecond, "the server and its directory are gone")
}
