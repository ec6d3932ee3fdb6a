// Package browsertest gives tests a real browser.
package browsertest

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Domain is a domain whose names the browser takes for this machine. Other than
// localhost and 127.0.0.1, they are no secure context unless a page comes by HTTPS.
const Domain = "example.net"

// patience limits one step.
const patience = time.Minute

// A Browser is a tab of a browser of its own, which remembers nothing from before and
// reaches this machine only. It ends with the test. It is for one goroutine.
type Browser struct {
	ctx     context.Context
	console func() (chromedp.ConsoleMessage, error, bool) // what it shows next
}

// New starts a browser. Without Chromium the test is skipped, or fails if CI is set.
func New(t testing.TB) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		unavailable(t, err)
	}
	ctx, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()),
		chromedp.ExecPath(program), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), // which is small in containers
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP *.%s 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", Domain)),
	)
	t.Cleanup(end)
	ctx, endTab := chromedp.NewContext(ctx)
	t.Cleanup(endTab)
	require.NoError(t, chromedp.Do(ctx), "start Chromium")
	next, stop := iter.Pull2(chromedp.Console(ctx))
	t.Cleanup(stop)
	return &Browser{ctx: ctx, console: next}
}

// unavailable ends a test that cannot have a browser.
func unavailable(t testing.TB, err error) {
	t.Helper()
	message := fmt.Sprintf("no browser (Debian: apt-get install chromium): %v", err)
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

func do[T any](t testing.TB, b *Browser, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	require.NoError(t, err)
	return result
}

// Open goes to a URL and returns the text of the page when it has loaded. The browser
// remembers a name and a password for HTTP Basic in the URL.
func (b *Browser) Open(t testing.TB, url string) string {
	t.Helper()
	do(t, b, chromedp.Navigate(url))
	return b.Text(t, "body")
}

// Text waits until the first element that a CSS selector matches is visible, and
// returns its text.
func (b *Browser) Text(t testing.TB, selector string) string {
	t.Helper()
	return do(t, b, chromedp.Text(chromedp.CSS(selector)))
}

// Click waits until an element is visible, and clicks on it.
func (b *Browser) Click(t testing.TB, selector string) {
	t.Helper()
	do(t, b, chromedp.Click(chromedp.CSS(selector)))
}

// Run runs the body of an asynchronous JavaScript function in the page, and returns
// the string that it returns.
func (b *Browser) Run(t testing.TB, body string) string {
	t.Helper()
	return do(t, b, chromedp.Evaluate[string]("(async () => {"+body+"})()", chromedp.EvalAwaitPromise))
}

// Complaints returns the errors on the console since it was last called: exceptions,
// violations of the content security policy, answers that are errors.
func (b *Browser) Complaints(t testing.TB) (complaints []string) {
	t.Helper()
	const last = "that is all so far"
	b.Run(t, `console.log("`+last+`"); return ""`)
	for {
		message, err, ok := b.console()
		require.NoError(t, err)
		require.True(t, ok, "the browser has ended")
		switch {
		case message.Text == last:
			return complaints
		case message.Type == chromedp.ConsoleError || message.Type == chromedp.ConsoleException:
			complaints = append(complaints, fmt.Sprintf("%s: %s", message.URL, message.Text))
		}
	}
}
