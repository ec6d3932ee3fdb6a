package pool

import (
	"context"
	"time"

	"github.com/duffy-ci/duffy/queue"
)

// fillJob asks to fill a pool.
type fillJob struct {
	Pool string    `json:"pool"`
	At   time.Time `json:"at,omitzero"`
}

func (fillJob) Kind() string           { return "fill_pool" }
func (j fillJob) NotBefore() time.Time { return j.At }

// provisionJob asks to run a pool's backend for nodes that are provisioning.
type provisionJob struct {
	Pool  string  `json:"pool"`
	Nodes []int64 `json:"nodes"`
}

func (provisionJob) Kind() string { return "provision_nodes" }
func (provisionJob) Long()        {}

// deprovisionJob asks to run a pool's backend for nodes that are deprovisioning.
type deprovisionJob struct {
	Pool  string    `json:"pool"`
	Nodes []int64   `json:"nodes"`
	At    time.Time `json:"at,omitzero"`
}

func (deprovisionJob) Kind() string           { return "deprovision_nodes" }
func (deprovisionJob) Long()                  {}
func (j deprovisionJob) NotBefore() time.Time { return j.At }

const (
	fillTimeout = time.Minute

	// settleTimeout is for writing down what a run told, if the database refuses it or
	// the worker is to end.
	settleTimeout = time.Minute

	// awayTimeout is what a run of a backend may take beyond its own time limit: so long
	// it waits for the database to come back, to write down what it told.
	awayTimeout = time.Hour
)

// Handle registers the pools' background work with mux.
func (s *Service) Handle(mux *queue.Mux) {
	provision, deprovision := DefaultProvisionTimeout, DefaultDeprovisionTimeout
	for _, c := range s.cfg.Pools.Concrete() {
		provision = max(provision, c.provisionTimeout())
		deprovision = max(deprovision, c.deprovisionTimeout())
	}
	queue.Handle(mux, fillTimeout, func(ctx context.Context, j fillJob) error {
		return s.fills.do(ctx, j.Pool, func() error { return s.Fill(ctx, j.Pool) })
	})
	queue.Handle(mux, provision+s.cfg.InspectTimeout+awayTimeout, s.provision)
	queue.Handle(mux, deprovision+awayTimeout, s.deprovision)
}

// FillJobs returns jobs that fill the pools called names, each once. Names of
// pools that are not filled are passed over.
func (s *Service) FillJobs(names ...string) []queue.Job {
	seen := map[string]bool{}
	var jobs []queue.Job
	for _, name := range names {
		if c := s.cfg.Pools.Get(name); c != nil && !c.Abstract && c.FillLevel != nil && !seen[name] {
			seen[name] = true
			jobs = append(jobs, fillJob{Pool: name})
		}
	}
	return jobs
}

// fillReusing returns jobs that fill the pools that an unused node may go to.
func (s *Service) fillReusing() []queue.Job {
	var names []string
	for _, c := range s.cfg.Pools.Concrete() {
		if c.Reuses() {
			names = append(names, c.Name)
		}
	}
	return s.FillJobs(names...)
}

// batches groups nodes as the backend of their pool wants them: all of a pool
// together, or each on its own.
func (s *Service) batches(nodes []*Node) []batch {
	var batches []batch
	together := map[string]int{}
	for _, n := range nodes {
		c := s.cfg.Pools.Get(n.Pool)
		if c == nil || !c.Together {
			batches = append(batches, batch{n.Pool, []int64{n.ID}})
			continue
		}
		i, ok := together[n.Pool]
		if !ok {
			i = len(batches)
			together[n.Pool] = i
			batches = append(batches, batch{pool: n.Pool})
		}
		batches[i].nodes = append(batches[i].nodes, n.ID)
	}
	return batches
}

// A batch is the nodes of one run of a backend.
type batch struct {
	pool  string
	nodes []int64
}

func (s *Service) provisionJobs(nodes []*Node) []queue.Job {
	var jobs []queue.Job
	for _, b := range s.batches(nodes) {
		jobs = append(jobs, provisionJob{b.pool, b.nodes})
	}
	return jobs
}

func (s *Service) deprovisionJobs(nodes []*Node, at time.Time) []queue.Job {
	var jobs []queue.Job
	for _, b := range s.batches(nodes) {
		jobs = append(jobs, deprovisionJob{b.pool, b.nodes, at})
	}
	return jobs
}
