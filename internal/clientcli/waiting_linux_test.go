package clientcli_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo terminal.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	return user, program
}

// TestWaitingIsShown answers a request only when the user has seen that it takes
// time.
func TestWaitingIsShown(t *testing.T) {
	t.Parallel()
	user, program := terminal(t)
	shown := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(user).ReadString(':')
		shown <- text
	}()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case text := <-shown:
			_, _ = io.WriteString(w, `{"pools":[],"shown":`+fmt.Sprint(strings.Contains(text, "Waiting for Duffy to answer:"))+`}`)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	var stdout bytes.Buffer
	require.Zero(t, runOn(t.Context(), &stdout, program, configured(server.URL), "client", "list-pools"))
	require.JSONEq(t, `{"pools":[],"shown":true}`, stdout.String())
}
