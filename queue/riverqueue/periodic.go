package riverqueue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/duffy-ci/duffy/queue"
)

const (
	periodicPrefix  = "periodic-"
	periodicTimeout = 5 * time.Second // of looking whether the last one still waits
)

// periodicJobs inserts periodic jobs so that they do not pile up while workers
// are busy: none while the one before still waits. River's unique jobs would
// count those that run as well, for ever if their process was killed.
type periodicJobs struct {
	ctx    context.Context
	client client
}

func (p *periodicJobs) of(mux *queue.Mux) []*river.PeriodicJob {
	var jobs []*river.PeriodicJob
	for i, every := range mux.Periodics() {
		tag := fmt.Sprint(periodicPrefix, i)
		next := func() (river.JobArgs, *river.InsertOpts) {
			if p.waits(every.Job.Kind(), tag) {
				return nil, nil
			}
			opts := insertOpts(every.Job)
			opts.Tags = []string{tag}
			opts.MaxAttempts = 1 // the next one is the second attempt
			return every.Job, opts
		}
		jobs = append(jobs, river.NewPeriodicJob(river.PeriodicInterval(every.Every), next, &river.PeriodicJobOpts{RunOnStart: true}))
	}
	return jobs
}

func (p *periodicJobs) waits(kind, tag string) bool {
	ctx, cancel := context.WithTimeout(p.ctx, periodicTimeout)
	defer cancel()
	waiting := river.NewJobListParams().Kinds(kind).TagsAll(tag).States(rivertype.JobStateAvailable).First(1)
	found, err := p.client.JobList(ctx, waiting)
	return err == nil && len(found.Jobs) > 0
}

// periodicTag returns what a periodic job is known by.
func periodicTag(tags []string) (string, bool) {
	i := slices.IndexFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, periodicPrefix) })
	if i < 0 {
		return "", false
	}
	return tags[i], true
}
