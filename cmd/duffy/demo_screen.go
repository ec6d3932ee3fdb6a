package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/term"

	"github.com/duffy-ci/duffy/httpapi/apiv1"
)

// A demoScreen is where the story is shown.
type demoScreen struct {
	io.Writer
	terminal bool
}

func newDemoScreen(out io.Writer) demoScreen {
	file, ok := out.(*os.File)
	return demoScreen{out, ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"}
}

func (s demoScreen) heading(text string) {
	if s.terminal {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintf(s, "\n%s\n", text)
}

func (s demoScreen) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// live shows text in the place of what it last showed, until done is called. In
// a file, where nothing can be taken back, each text is a line.
func (s demoScreen) live() (show func(text string), done func()) {
	last := ""
	show = func(text string) {
		switch {
		case text == last:
			return
		case s.terminal:
			fmt.Fprintf(s, "\r\x1b[K%s", text)
		default:
			s.line("%s", text)
		}
		last = text
	}
	return show, func() {
		if s.terminal && last != "" {
			s.line("")
		}
	}
}

// picture draws a pool in a few characters, and tells whether it is full.
func picture(p apiv1.Pool) (text string, full bool) {
	ready := min(p.Levels.Ready, p.FillLevel)
	coming := min(p.Levels.Provisioning, p.FillLevel-ready)
	text = fmt.Sprintf("%s %s%s%s %d/%d", p.Name, strings.Repeat("●", ready), strings.Repeat("◐", coming),
		strings.Repeat("○", p.FillLevel-ready-coming), p.Levels.Ready, p.FillLevel)
	if n := p.Levels.Deprovisioning; n > 0 {
		text += fmt.Sprintf(", %d deprovisioning", n)
	}
	return text, ready == p.FillLevel && p.Levels.Deprovisioning == 0
}

// A demoTransport shows requests as curl commands that repeat them, and the
// status of answers.
type demoTransport struct{ screen demoScreen }

func (t demoTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	command, err := curl(req)
	if err != nil {
		return nil, err
	}
	t.screen.line("%s", command)
	began := time.Now()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		t.screen.line("%s (%s)", res.Status, time.Since(began).Round(100*time.Microsecond))
	}
	return res, err
}

// curl returns the command that sends a request.
func curl(req *http.Request) (string, error) {
	words := []string{"curl"}
	if name, key, ok := req.BasicAuth(); ok {
		words = append(words, "-u", name+":"+key)
	}
	if req.Body != nil {
		copied, err := req.GetBody()
		if err != nil {
			return "", err
		}
		defer copied.Close()
		body, err := io.ReadAll(copied)
		if err != nil {
			return "", err
		}
		if req.Method != http.MethodPost {
			words = append(words, "-X", req.Method)
		}
		words = append(words, "-H", "Content-Type: "+req.Header.Get("Content-Type"), "-d", string(body))
	}
	return shellescape.QuoteCommand(append(words, req.URL.String())), nil
}
