package main_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

func TestRun(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "embed")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	program := exec.CommandContext(t.Context(), binary, "-listen", "127.0.0.1:0")
	var stderr strings.Builder
	program.Stderr = &stderr
	stdout, err := program.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, program.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "%s", &stderr)
	var url, name, key string
	_, err = fmt.Sscanf(line, "%s knows tenant %s by key %s", &url, &name, &key)
	require.NoError(t, err, line)

	page, err := http.Get(strings.TrimSuffix(url, "api/v1"))
	require.NoError(t, err)
	require.NoError(t, page.Body.Close())
	require.Equal(t, http.StatusOK, page.StatusCode)

	duffy, err := client.New(url, client.Config{Tenant: name, Key: key})
	require.NoError(t, err)
	var session apiv1.Session
	request := apiv1.SessionCreate{NodesSpecs: []apiv1.NodesSpec{{Pool: "directories", Quantity: 2}}}
	require.Eventually(t, func() bool { // the pool fills
		session, err = duffy.RequestSession(t.Context(), request)
		return err == nil
	}, time.Minute, 50*time.Millisecond)
	require.Len(t, session.Nodes, 2)
	dir := session.Nodes[0].Data["provision"].(map[string]any)["directory"].(string)
	require.FileExists(t, dir+"/authorized_keys")
	_, err = duffy.RetireSession(t.Context(), session.ID)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) },
		time.Minute, 50*time.Millisecond, "the directory goes with the session")

	require.NoError(t, program.Process.Signal(os.Interrupt))
	require.NoError(t, program.Wait(), "%s", &stderr)
	require.Empty(t, stderr.String())
}
