package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/duffy-ci/duffy/internal/config"
)

// monitor serves /metrics, /healthz and /readyz until ctx ends, if a section of the
// configuration says where.
func (s *service) monitor(ctx context.Context, section string, where config.Listen) error {
	if where.Port == 0 {
		return nil
	}
	l, err := listenFlags{}.listen(cmp.Or(where.Host, "127.0.0.1"), where.Port, nil)
	if err != nil {
		err = fmt.Errorf("every process needs a port of its own: %w", err)
		return s.files.At(err, section, "metrics", "port")
	}
	s.log.InfoContext(ctx, "serving metrics", "address", l.Addr())
	return l.serve(ctx, s.duffy.Monitor(), s.log)
}
