package riverqueue_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duffy-ci/duffy/internal/db"
	"github.com/duffy-ci/duffy/internal/db/dbtest"
	"github.com/duffy-ci/duffy/queue"
	"github.com/duffy-ci/duffy/queue/riverqueue"
)

const killedURL = "DUFFY_TEST_KILLED_URL"

// A process is killed that is the leader. Another one has to take over moving
// delayed jobs up within the minute in which Duffy repairs what crashes leave.
func TestTakeOverFromKilledProcess(t *testing.T) {
	if url := os.Getenv(killedURL); url != "" {
		workUntilKilled(t, url)
		return
	}
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{
		"postgres": func(t *testing.T) string { return dbtest.PostgresURL(t) },
		"sqlite":   func(t *testing.T) string { return "sqlite:///" + filepath.Join(t.TempDir(), "duffy.db") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := url(t)
			d, err := db.Open(t.Context(), url, db.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, d.Close()) })
			require.NoError(t, newQueue(t, d, riverqueue.Config{}).Migrate(t.Context()))

			victim := exec.Command(os.Args[0], "-test.run=^TestTakeOverFromKilledProcess$")
			victim.Env = append(os.Environ(), killedURL+"="+url)
			out, err := victim.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, victim.Start())
			ready := bufio.NewScanner(out)
			for ready.Scan() && ready.Text() != "running" {
			}
			require.NoError(t, victim.Process.Kill())
			require.Error(t, victim.Wait())
			require.Equal(t, "running", ready.Text())

			killed := time.Now()
			ran := make(chan struct{}, 1)
			var mux queue.Mux
			queue.Handle(&mux, patience, func(context.Context, tick) error {
				select {
				case ran <- struct{}{}:
				default:
				}
				return nil
			})
			insert(t, d, newQueue(t, d, riverqueue.Config{}), tick{At: time.Now().Add(time.Second)})
			work(t, d, riverqueue.Config{}, &mux)
			select {
			case <-ran:
				t.Logf("took over after %v", time.Since(killed))
			case <-time.After(patience):
				require.Fail(t, "nobody takes over")
			}
		})
	}
}

func workUntilKilled(t *testing.T, url string) {
	d, err := db.Open(t.Context(), url, db.Config{})
	require.NoError(t, err)
	var mux queue.Mux
	queue.Handle(&mux, time.Hour, func(context.Context, tick) error {
		fmt.Println("\nrunning")
		select {}
	})
	q := newQueue(t, d, riverqueue.Config{})
	insert(t, d, q, tick{At: time.Now().Add(time.Second)}) // only the leader has it run
	require.NoError(t, q.Work(t.Context(), &mux))
}
