package ansible

import (
	"bytes"
	"log/slog"
	"strings"
)

// maxLine is how much of a line is logged at once.
const maxLine = 64 << 10

// A lineLogger logs what is written to it, line by line.
type lineLogger struct {
	logger *slog.Logger
	rest   []byte // of a line that has not ended
}

func (l *lineLogger) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) < maxLine {
			return len(p), nil
		}
		l.rest = rest
		l.log(line)
	}
}

func (l *lineLogger) flush() {
	l.log(l.rest)
	l.rest = nil
}

func (l *lineLogger) log(line []byte) {
	if len(bytes.TrimSpace(line)) > 0 {
		l.logger.Debug(string(bytes.TrimRight(line, "\r ")))
	}
}

// maxTail is how much a tail keeps.
const maxTail = 8 << 10

// A tail keeps the last of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > maxTail {
		t.text = bytes.Clone(t.text[len(t.text)-maxTail:])
	}
	return len(p), nil
}

// message returns the error message in the output of ansible-playbook, or the
// last lines if there is none.
func (t *tail) message() string {
	text := string(t.text)
	for _, mark := range []string{"ERROR! ", "[ERROR]: "} {
		if i := strings.LastIndex(text, mark); i >= 0 {
			return shorten(text[i+len(mark):])
		}
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return shorten(strings.Join(lines[max(0, len(lines)-5):], "\n"))
}

// maxMessage is how many characters of a message are shown.
const maxMessage = 600

// shorten puts a message on one line of a bounded length.
func shorten(message string) string {
	words := strings.ToValidUTF8(strings.Join(strings.Fields(message), " "), "�")
	if runes := []rune(words); len(runes) > maxMessage {
		return string(runes[:maxMessage]) + "..."
	}
	return words
}
