package foreign

import (
	"io"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Writer returns w for what people and programs read: a terminal must not obey what
// others wrote. All that is neither printable nor a newline or a tab is written as
// JSON writes it, so that JSON and YAML still say the same. It is safe for concurrent
// use.
func Writer(w io.Writer) io.Writer { return &writer{w: w} }

type writer struct {
	w io.Writer

	mu   sync.Mutex
	part []byte // of a character that has not ended
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := append(w.part, p...)
	w.part = nil
	escaped := make([]byte, 0, len(text))
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			w.part = text
			break
		}
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n', r == '\t', unicode.IsPrint(r) && (r != utf8.RuneError || size > 1):
			escaped = append(escaped, text[:size]...)
		case size == 1 && r == utf8.RuneError:
			escaped = utf8.AppendRune(escaped, utf8.RuneError)
		default:
			escaped = append(escaped, escapeRune(r)...)
		}
		text = text[size:]
	}
	if _, err := w.w.Write(escaped); err != nil {
		return 0, err
	}
	return len(p), nil
}

// utf16Units returns r as JSON counts it: in one unit, or in two.
func utf16Units(r rune) []uint16 { return utf16.AppendRune(nil, r) }
