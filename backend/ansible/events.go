package ansible

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// An event is one line of what the callback plugin wrote.
type event struct {
	Event    string          `json:"event"`
	Host     string          `json:"host"`
	Task     string          `json:"task"`
	Ignored  bool            `json:"ignored"`
	Msg      any             `json:"msg"`
	Stderr   any             `json:"stderr"`
	DuffyOut json.RawMessage `json:"duffy_out"`
}

// events are what is known about a run once it is over.
type events struct {
	task     string          // the last one that started
	failures []event         // that were not ignored; a rescue may follow one
	out      json.RawMessage // the last duffy_out
	hidden   string          // the task that set another one after it, which no_log hides
	noHosts  bool            // a play had none
}

// readEvents reads what there is. A playbook that was killed may leave half a line, and
// what a node said may be no JSON: such lines are passed over.
func readEvents(path string) (*events, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var e events
	for line := range bytes.Lines(text) {
		var ev event
		if json.Unmarshal(line, &ev) != nil {
			continue
		}
		switch ev.Event {
		case "task":
			e.task = ev.Task
		case "failed":
			if !ev.Ignored {
				e.failures = append(e.failures, ev)
			}
		case "duffy_out":
			e.out, e.hidden = ev.DuffyOut, ""
		case "hidden":
			e.hidden = ev.Task
		case "no hosts":
			e.noHosts = true
		}
	}
	return &e, nil
}

// nodes returns the list that a successful playbook set.
func (e *events) nodes(playbook string) ([]any, error) {
	if e.hidden != "" {
		return nil, fmt.Errorf("%s: no_log hides what task %q sets duffy_out to: give that task no_log: false", playbook, e.hidden)
	}
	if e.out == nil {
		if e.noHosts {
			return nil, fmt.Errorf("%s set no duffy_out, and has a play that matched no hosts", playbook)
		}
		return nil, fmt.Errorf("%s set no duffy_out", playbook)
	}
	var out any
	decoder := json.NewDecoder(bytes.NewReader(e.out))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: duffy_out: %w", playbook, err)
	}
	mapping, ok := out.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: duffy_out is not a mapping", playbook)
	}
	nodes, ok := mapping["nodes"].([]any)
	if !ok {
		return nil, fmt.Errorf("%s: duffy_out.nodes is not a list", playbook)
	}
	return nodes, nil
}

// failure returns why a playbook failed. What ended it is its last failure, but
// that may be of the cleaning up after the first. stderr is for playbooks that did
// not come so far.
func (e *events) failure(playbook string, err error, stderr string) error {
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case !ran:
		return fmt.Errorf("cannot run %s: %w", playbook, err)
	case exit.ExitCode() > 1 && len(e.failures) > 1:
		first, last := e.failures[0], e.failures[len(e.failures)-1]
		return fmt.Errorf("%s: %s; finally, %s", playbook, first, last)
	case exit.ExitCode() > 1 && len(e.failures) == 1:
		return fmt.Errorf("%s: %s", playbook, e.failures[0])
	case stderr != "":
		return fmt.Errorf("%s ended with %s: %s", playbook, exit, stderr)
	default:
		return fmt.Errorf("%s ended with %s", playbook, exit)
	}
}

// String tells of a failure.
func (ev event) String() string {
	text := fmt.Sprintf("task %q failed on %s", ev.Task, ev.Host)
	msg, ok := ev.Msg.(string)
	if !ok && ev.Msg != nil {
		encoded, _ := json.Marshal(ev.Msg)
		msg = string(encoded)
	}
	// After an empty line Ansible quotes the playbook.
	msg, _, _ = strings.Cut(msg, "\n\n")
	if msg = shorten(msg); msg != "" {
		text += ": " + msg
	}
	stderr, _ := ev.Stderr.(string)
	stderr = strings.TrimSpace(stderr)
	if line := shorten(stderr[strings.LastIndex(stderr, "\n")+1:]); line != "" {
		text += ": " + line
	}
	return text
}

// stopped returns the error for a playbook that had to end with its context.
func (e *events) stopped(playbook string, err error) error {
	text := playbook + " was stopped"
	if errors.Is(err, context.DeadlineExceeded) {
		text = playbook + " did not finish within the time limit"
	}
	if e.task != "" {
		text += fmt.Sprintf(", it was in task %q", e.task)
	}
	return &stoppedError{text, err}
}

// A stoppedError is the end of a context, told in terms of playbooks.
type stoppedError struct {
	text string
	err  error
}

func (e *stoppedError) Error() string { return e.text }
func (e *stoppedError) Unwrap() error { return e.err }
