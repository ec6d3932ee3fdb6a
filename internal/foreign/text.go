// Package foreign escapes text that was written outside of Duffy: by a node, a
// backend, a playbook, a DNS server or a client. Such text is hostile until it is
// escaped for the place that it goes to.
//
// Package seam is where text of machines comes in: nothing behind it sees that as it
// was. [LogHandler] and [Writer] are in front of the log and of the terminal, for
// text that comes in elsewhere.
package foreign

import (
	"encoding/json"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a line of foreign text, of a bounded length. It cannot become a string but
// by String, which returns it escaped for people to read, in errors, logs, databases
// and on terminals. The zero Text is empty.
type Text struct{ escaped string }

// textMax is how many characters of a text are kept: more than anything that people
// read, and little enough to be in a hundred thousand rows.
const textMax = 1000

// Line returns text in one line: runs of white space become one space.
func Line(text string) Text {
	text = text[:min(len(text), 8*textMax)]
	escaped := Escape(strings.Join(strings.Fields(text), " "))
	if short := first(textMax, escaped); short != escaped {
		escaped = short + "..."
	}
	return Text{escaped}
}

// first returns the first n characters of text.
func first(n int, text string) string {
	if len(text) <= n {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(n, len(runes))])
}

func (t Text) String() string { return t.escaped }

// GoString keeps %#v from telling more than String.
func (t Text) GoString() string { return t.escaped }

// LogValue implements [slog.LogValuer].
func (t Text) LogValue() slog.Value { return slog.StringValue(t.escaped) }

// MarshalJSON implements [json.Marshaler].
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.escaped) }

// Escape returns text in one line, with what is not printable as JSON writes it:
// control characters, and those that change the direction of text or cannot be seen.
func Escape(text string) string {
	if printable(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // what is not UTF-8 is U+FFFD here
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.Write(escapeRune(r))
		}
	}
	return b.String()
}

func printable(text string) bool {
	for i, r := range text {
		if !unicode.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			return false
		}
	}
	return true
}

// ASCII returns text with all characters beyond ASCII as JSON writes them, so that JSON
// says the same and a database in any encoding can store it.
func ASCII(text string) string {
	if !strings.ContainsFunc(text, beyondASCII) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if beyondASCII(r) {
			b.Write(escapeRune(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func beyondASCII(r rune) bool { return r > unicode.MaxASCII }

const hex = "0123456789abcdef"

// escapeRune writes a character as one or two \uXXXX.
func escapeRune(r rune) []byte {
	var escaped []byte
	for _, unit := range utf16Units(r) {
		escaped = append(escaped, '\\', 'u', hex[unit>>12&15], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
	}
	return escaped
}
