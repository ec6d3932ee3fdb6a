package queue

import "context"

// A Pinger is a [Queue] on a server of its own, which can be away while the
// database is there.
type Pinger interface {
	// Ping returns an error unless the server answers. It returns soon after ctx
	// ends, and is safe for concurrent use, also while no Work runs.
	Ping(ctx context.Context) error
}
