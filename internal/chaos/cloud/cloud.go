package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/duffy-ci/duffy/backend"
	"github.com/duffy-ci/duffy/backend/loopback"
)

// A cloud makes machines. What it has made is what has a directory.
type cloud struct {
	dir      string
	machines *loopback.Backend
	record   io.Writer // of all that was done, one line each

	mu       sync.Mutex
	faults   faults
	requests int
}

// faults are what is wrong with the cloud.
type faults struct {
	Delay       time.Duration // before anything is done
	Hang        bool          // every other request waits until that ends or its caller gives up
	FailBefore  bool          // nothing is done
	FailAfter   bool          // it is done, and yet an error answered
	Unreachable int           // so many of three machines drop connections
}

func (c *cloud) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /machines/{name}", c.faulty(c.put))
	mux.HandleFunc("DELETE /machines/{name}", c.faulty(c.delete))
	mux.HandleFunc("GET /machines", c.list)
	mux.HandleFunc("PUT /faults", c.setFaults)
	return mux
}

// put makes a machine, or finds it made.
func (c *cloud) put(ctx context.Context, id int64) (any, error) {
	made, err := c.machines.Provision(ctx, backend.Request{Nodes: []backend.Node{{ID: id}}})
	if err != nil {
		return nil, err
	}
	return made[0].Provision, nil
}

func (c *cloud) delete(ctx context.Context, id int64) (any, error) {
	_, err := c.machines.Deprovision(ctx, backend.Request{Nodes: []backend.Node{{ID: id}}})
	return nil, err
}

// list answers what authorized_keys says on each machine, by the machine's id.
func (c *cloud) list(w http.ResponseWriter, _ *http.Request) {
	keys := map[string]string{}
	dirs, _ := os.ReadDir(c.dir)
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(c.dir, dir.Name(), ".ssh", "authorized_keys"))
		if err == nil { // or else it is being made or removed
			keys[strings.TrimPrefix(dir.Name(), "node-")] = string(text)
		}
	}
	_ = json.NewEncoder(w).Encode(keys)
}

// setFaults replaces what is wrong.
func (c *cloud) setFaults(w http.ResponseWriter, r *http.Request) {
	var f faults
	if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
}

func (c *cloud) wrong() faults {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults
}

func (c *cloud) countRequest() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	return c.requests
}

func (c *cloud) reachable(id int64) bool { return int(id%3) >= c.wrong().Unreachable }

// faulty does work for the machine that a request names, by a name that ends in the
// node's ID, as far as nothing is wrong.
func (c *cloud) faulty(work func(context.Context, int64) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		id, err := strconv.ParseInt(name[strings.LastIndex(name, "-")+1:], 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := c.try(r, id, work)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (c *cloud) try(r *http.Request, id int64, work func(context.Context, int64) (any, error)) (any, error) {
	begin := time.Now()
	other := c.countRequest()%2 == 0
	for f := c.wrong(); f.Hang && other || time.Since(begin) < f.Delay; f = c.wrong() {
		select {
		case <-r.Context().Done(): // nobody waits for it any more
			return nil, r.Context().Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	f := c.wrong()
	if f.FailBefore {
		return nil, fmt.Errorf("machine %d: out of order", id)
	}
	answer, err := work(context.WithoutCancel(r.Context()), id)
	fmt.Fprintln(c.record, time.Now().UTC().Format(time.RFC3339Nano), r.Method, id, r.UserAgent(), err)
	if f.FailAfter && err == nil {
		err = fmt.Errorf("machine %d: it is not known what became of it", id)
	}
	return answer, err
}
