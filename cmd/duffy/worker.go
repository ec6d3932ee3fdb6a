package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"
)

type workerCmd struct {
	Args []string `arg:"" optional:"" help:"Options of Duffy 3's worker. --concurrency=N sets how many playbooks run at once; the others have no meaning here."`
}

func (c *workerCmd) Run(ctx context.Context, p *program, k *kong.Context) error {
	if slices.Contains(c.Args, "--help") || slices.Contains(c.Args, "-h") {
		return k.PrintUsage(false)
	}
	concurrency, ignored, err := celery(c.Args)
	if err != nil {
		return err
	}
	p.concurrency = concurrency
	s, err := p.startWorker(ctx, checkSchema)
	if err != nil {
		return err
	}
	defer s.duffy.Close()
	if len(ignored) > 0 {
		s.log.WarnContext(ctx, "options that have no meaning here are ignored", "options", ignored)
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return s.duffy.Work(ctx) })
	all.Go(func() error { return s.monitor(ctx, "tasks", s.files.Config().Tasks.Metrics) })
	return all.Wait()
}

// celery finds the concurrency in options of Celery's worker, zero if it is not
// there, and returns all others.
func celery(args []string) (concurrency int, ignored []string, err error) {
	for len(args) > 0 {
		option, value, hasValue := strings.Cut(args[0], "=")
		args = args[1:]
		short := strings.HasPrefix(option, "-c") && !strings.HasPrefix(option, "--")
		switch {
		case option == "--concurrency" || option == "-c":
			if !hasValue && len(args) > 0 {
				value, args = args[0], args[1:]
			}
		case short:
			option, value = "-c", option[2:]
		default:
			if hasValue {
				option += "=" + value
			}
			ignored = append(ignored, option)
			continue
		}
		if concurrency, err = strconv.Atoi(value); err != nil || concurrency < 1 {
			return 0, nil, fmt.Errorf("%s: expected how many playbooks may run at once, found %q", option, value)
		}
	}
	return concurrency, ignored, nil
}
