package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
	"github.com/duffy-ci/duffy/httpapi/client"
)

// A crowd is tenants who request sessions, use them and retire them, or let them
// expire, as fast as they can.
type crowd struct {
	c       *cluster
	f       *figures
	tenants []*tenant

	cancel context.CancelFunc
	gone   sync.WaitGroup
	served atomic.Int64 // when a session was handed out last, in Unix nanoseconds

	mu       sync.Mutex
	answered map[int64]bool  // sessions that somebody was told about
	held     map[int64]int64 // sessions, by the nodes in them that must be nobody else's
}

type tenant struct {
	name string
	key  key
	apis []*client.Client // one for each process that serves
}

func (c *cluster) newCrowd(t *testing.T, f *figures) *crowd {
	crowd := &crowd{c: c, f: f, answered: map[int64]bool{}, held: map[int64]int64{}}
	for i := range 3 {
		u := &tenant{name: fmt.Sprintf("tenant%d", i), key: newKey(t, "")}
		said := c.run(t, "admin", "create-tenant", u.name, u.key.authorized)
		apiKey := strings.TrimSpace(said[strings.LastIndex(said, " ")+1:])
		for _, p := range c.serving {
			api, err := client.New(p.url+"/api/v1", client.Config{Tenant: u.name, Key: apiKey, Timeout: 100 * time.Second})
			require.NoError(t, err)
			u.apis = append(u.apis, api)
		}
		crowd.tenants = append(crowd.tenants, u)
	}
	return crowd
}

// come has each tenant be there twice.
func (w *crowd) come(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	for _, u := range w.tenants {
		for range 2 {
			w.gone.Go(func() {
				for ctx.Err() == nil {
					w.useOne(ctx, t, u)
				}
			})
		}
	}
}

// leave has everybody give back what they have, and go.
func (w *crowd) leave() {
	w.cancel()
	w.gone.Wait()
}

// untilServed waits until somebody got a session after an instant.
func (w *crowd) untilServed(t *testing.T, after time.Time) {
	require.Eventually(t, func() bool { return w.served.Load() > after.UnixNano() }, patience, glance, "no session is handed out")
}

var pools = []string{"thrown-away", "retried", "reused"}

// useOne requests a session, looks whether it is as promised, and gives it back.
func (w *crowd) useOne(ctx context.Context, t *testing.T, u *tenant) {
	specs := []apiv1.NodesSpec{{Pool: pools[rand.IntN(len(pools))], Quantity: 1}}
	if rand.IntN(4) == 0 {
		specs = append(specs, apiv1.NodesSpec{Pool: pools[rand.IntN(len(pools))], Quantity: 1})
	}
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if rand.IntN(10) == 0 {
		time.AfterFunc(time.Duration(rand.Int64N(int64(500*time.Millisecond))), cancel)
	}
	ses, err := u.any().RequestSession(patient, apiv1.SessionCreate{NodesSpecs: specs})
	w.f.count(outcome(err))
	if err != nil {
		sleep(ctx, 300*time.Millisecond)
		return
	}
	w.take(t, ses)
	w.requireLogin(t, u, ses)
	sleep(ctx, time.Duration(rand.Int64N(int64(4*time.Second))))
	w.requireActive(t, u, ses)
	w.requireLogin(t, u, ses)
	if rand.IntN(4) == 0 {
		w.extend(t, u, ses)
	}
	w.giveBack(t, u, ses)
}

func (u *tenant) any() *client.Client { return u.apis[rand.IntN(len(u.apis))] }

func asError(err error) *client.Error {
	var e *client.Error
	errors.As(err, &e)
	return e
}

func outcome(err error) string {
	e := asError(err)
	switch {
	case err == nil:
		return handedOut
	case e == nil && errors.Is(err, context.Canceled):
		return "given up by the client"
	case e == nil:
		return "no answer"
	default:
		return fmt.Sprintf("answered %d", e.Status)
	}
}

// take notes that a session was handed out, whose nodes must be nobody else's.
func (w *crowd) take(t *testing.T, ses apiv1.Session) {
	w.served.Store(time.Now().UnixNano())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered[ses.ID] = true
	for _, n := range ses.Nodes {
		if other, taken := w.held[n.ID]; taken {
			t.Errorf("node %d is in sessions %d and %d", n.ID, other, ses.ID)
		}
		w.held[n.ID] = ses.ID
	}
}

// requireLogin has the tenant log in to all nodes of a session.
func (w *crowd) requireLogin(t *testing.T, u *tenant, ses apiv1.Session) {
	for _, n := range ses.Nodes {
		err := insist(func() error { return login(u, n) })
		if err != nil {
			t.Errorf("session %d, node %d (%s): its tenant cannot log in: %v", ses.ID, n.ID, *n.Pool, err)
		}
	}
}

func login(u *tenant, n apiv1.SessionNode) error {
	provision, _ := n.Data["provision"].(map[string]any)
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(*n.IPAddr, fmt.Sprint(provision["ssh_port"])), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	ssh, _, _, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(u.key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	return ssh.Close()
}

// insist tries for longer than faults last.
func insist(try func() error) error {
	err := try()
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); err = try() {
		time.Sleep(glance)
	}
	return err
}

// requireActive looks whether a session is still as it was handed out.
func (w *crowd) requireActive(t *testing.T, u *tenant, ses apiv1.Session) {
	var now apiv1.Session
	err := insist(func() (err error) {
		now, err = u.any().GetSession(context.Background(), ses.ID)
		if e := asError(err); e != nil && e.Status == http.StatusNotFound {
			t.Errorf("session %d is lost", ses.ID)
			return nil
		}
		return err
	})
	if err != nil {
		t.Errorf("session %d cannot be looked at: %v", ses.ID, err)
	}
	if !now.Active || !slices.Equal(ids(now), ids(ses)) {
		t.Errorf("session %d is not as it was handed out: active %t, nodes %v instead of %v", ses.ID, now.Active, ids(now), ids(ses))
	}
}

func ids(ses apiv1.Session) (ids []int64) {
	for _, n := range ses.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// extend moves the end of a session, by an hour or, if an answer is lost on the way,
// more than that.
func (w *crowd) extend(t *testing.T, u *tenant, ses apiv1.Session) {
	var now apiv1.Session
	err := insist(func() (err error) {
		now, err = u.any().ExtendSession(context.Background(), ses.ID, time.Hour)
		return err
	})
	if err != nil {
		t.Errorf("session %d cannot be extended: %v", ses.ID, err)
	} else if now.ExpiresAt.Sub(ses.ExpiresAt.Time) < time.Hour {
		t.Errorf("session %d was extended by an hour, and expires at %s instead of %s", ses.ID, now.ExpiresAt, ses.ExpiresAt)
	}
}

// giveBack retires a session, or lets it expire.
func (w *crowd) giveBack(t *testing.T, u *tenant, ses apiv1.Session) {
	w.mu.Lock()
	for _, n := range ses.Nodes {
		if w.held[n.ID] == ses.ID {
			delete(w.held, n.ID)
		}
	}
	w.mu.Unlock()
	err := insist(func() error {
		var err error
		if rand.IntN(3) == 0 {
			soon := apiv1.TimeSpec(time.Now().Add(time.Second).UTC().Format(time.RFC3339))
			_, err = u.any().UpdateSession(context.Background(), ses.ID, apiv1.SessionUpdate{ExpiresAt: &soon})
		} else {
			_, err = u.any().RetireSession(context.Background(), ses.ID)
		}
		if e := asError(err); e != nil && e.Status == http.StatusUnprocessableEntity { // an earlier try did it
			return nil
		}
		return err
	})
	if err != nil {
		t.Errorf("session %d cannot be given back: %v", ses.ID, err)
	}
}

// retireForgotten retires the sessions of those who are gone: no answer told them
// about these.
func (w *crowd) retireForgotten(ctx context.Context) error {
	for _, u := range w.tenants {
		sessions, err := u.any().ListSessions(ctx)
		if err != nil {
			return err
		}
		for _, ses := range sessions {
			if _, err := u.any().RetireSession(ctx, ses.ID); err != nil && asError(err) == nil {
				return err
			}
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
