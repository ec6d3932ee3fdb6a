package clientcli

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const clearLine = "\r\x1b[K"

// showWaiting tells a user at a terminal every second for how long the answer
// has been waited for, until done is called, which leaves no trace of it. It
// does nothing if stderr is no terminal.
func showWaiting(stderr io.Writer) (done func()) {
	terminal, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		start, shown := time.Now(), false
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				shown = true
				fmt.Fprintf(terminal, "%sWaiting for Duffy to answer: %.0f s", clearLine, time.Since(start).Seconds())
			case <-stop:
				if shown {
					fmt.Fprint(terminal, clearLine)
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
