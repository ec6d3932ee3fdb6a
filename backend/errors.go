package backend

import "errors"

// Errors that those of a [Contextualizer] or [Inspector] may match.
var (
	// ErrUntouched is for calls that did nothing to the node, which stays as it was:
	// it did not answer, or let nobody in.
	ErrUntouched = errors.New("nothing was done to the node")

	// ErrNotTried is for calls that failed for a reason that has nothing to do with the
	// node, to which they did nothing either. This process has no key to log in with,
	// for instance, no file descriptors, memory, ports or routes, or gets no answer of
	// an agent, a proxy or DNS. It matches ErrUntouched. What may be up to the node must not match: if no node
	// answers at all, Duffy notices that itself.
	ErrNotTried = Untouched(errors.New("the node could not be tried"))
)

// Untouched returns an error that says what err says, and matches [ErrUntouched].
func Untouched(err error) error { return matching{err, ErrUntouched} }

// NotTried returns an error that says what err says, and matches [ErrNotTried] and
// [ErrUntouched].
func NotTried(err error) error { return matching{err, ErrNotTried} }

// A matching is an error that matches another one, which it does not quote.
type matching struct {
	error
	as error
}

func (e matching) Unwrap() error { return e.error }

func (e matching) Is(target error) bool { return errors.Is(e.as, target) }
