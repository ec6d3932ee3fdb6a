package ssh

import (
	"strings"
	"sync"
)

// output keeps the beginning of what a command prints, to either of its streams:
// login shells and forced commands complain on standard output.
type output struct {
	mu   sync.Mutex
	text []byte
}

const outputLimit = 1000

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p[:min(len(p), outputLimit-len(o.text))]...)
	return len(p), nil
}

// String returns what was printed in one line.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.FieldsFunc(strings.ToValidUTF8(string(o.text), "?"), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.TrimSpace(strings.Join(lines, "; "))
}
