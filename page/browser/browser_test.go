// Package browser tests the page in a real Chromium, under a load, by clicks and by keys, and
// with axe. It is a module of its own, so that the product does not have what only this needs.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"inturn/cli"
	"inturn/functions"
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/serve"
)

// patience bounds a wait for what must come; it is no measure of speed.
const patience = 30 * time.Second

// nasty is what a client may be called, and what an error may say.
const nasty = `<img src=x onerror=window.hurt=1>&"'é`

// fails is a function whose events park their account.
var fails = functions.New("fails", func(context.Context, functions.Event, json.RawMessage) (functions.Effect, error) {
	return nil, errors.New(nasty + "\x1b[2J\u202e")
}, functions.WithPolicy(functions.Policy{Attempts: 1}))

// rejects is a function whose events are dead at once.
var rejects = functions.New("rejects", func(context.Context, functions.Event, json.RawMessage) (functions.Effect, error) {
	return nil, functions.Reject(errors.New("never <b>this</b>"))
})

// site is a server with its page, and one browser.
type site struct {
	t         *testing.T
	api, base string
	browser   context.Context

	mu         sync.Mutex
	complaints []string // of the browser's console
}

func open(t *testing.T) *site {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("INTURN_NEED") != "" {
			t.Fatal("chromium is not installed and INTURN_NEED=all")
		}
		t.Skip("chromium is not installed")
	}
	config, err := serve.ParseConfig("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls", "off", "--db", filepath.Join(t.TempDir(), "inturn.db"), "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	set, err := functions.NewSet(message.Function, message.Close, work.Function, fails, rejects)
	if err != nil {
		t.Fatal(err)
	}
	server, err := serve.New(t.Context(), config, set, cli.IO{Out: io.Discard, Err: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, api: "http://" + server.Addr().Public, base: "http://" + server.Addr().Admin}
	// Without a sandbox: tests run as root, and the browser loads nothing but the page.
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	browser, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	s.browser = browser
	if err := chromedp.Listen(browser, s.hear); err != nil {
		t.Fatal(err)
	}
	command(s, log.Enable, cdp.Empty{})
	s.run(chromedp.EmulateViewport(1280, 800))
	return s
}

// hear notes what the browser finds wrong: errors of scripts, and what the policy has stopped.
func (s *site) hear(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		s.complaints = append(s.complaints, ev.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if ev.Entry.Level == log.EntryLevelError && !strings.Contains(ev.Entry.Text, "the server responded with a status of") {
			s.complaints = append(s.complaints, ev.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		s.complaints = append(s.complaints, "a dialog: "+ev.Message)
	}
}

// bounded is the browser's context for one step.
func (s *site) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.browser, patience)
}

// run does steps, each within patience.
func (s *site) run(steps ...step) {
	s.t.Helper()
	for _, one := range steps {
		value(s, one)
	}
}

type step = chromedp.Action[chromedp.Void]

// value returns what an action gives.
func value[T any](s *site, action chromedp.Action[T]) T {
	s.t.Helper()
	ctx, cancel := s.bounded()
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// command sends a command of the protocol.
func command[P, R any](s *site, c cdp.Command[P, R], params P) {
	s.t.Helper()
	ctx, cancel := s.bounded()
	defer cancel()
	if _, err := chromedp.Call(ctx, c, params); err != nil {
		s.t.Fatal(err)
	}
}

// post sends one event.
func (s *site) post(clientID, messageID, typ, payload string) {
	s.t.Helper()
	var body strings.Builder
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // the payload goes as it is
	if err := encoder.Encode(map[string]any{"client_id": clientID, "message_id": messageID, "type": typ, "payload": json.RawMessage(payload)}); err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.Post(s.api+"/v1/events", "application/json", strings.NewReader(body.String()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		s.t.Fatal(resp.Status, string(text))
	}
}

// until waits until an account or event of the API says text.
func (s *site) until(path, text string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(s.api + path)
		if err != nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			s.t.Fatal(err)
		case strings.Contains(string(body), text):
			return
		case time.Now().After(end):
			s.t.Fatalf("%s never says %s: %s", path, text, body)
		}
	}
}

// load sends events of some accounts until the test has ended.
func (s *site) load() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			body := fmt.Sprintf(`{"client_id":"load-%d","message_id":"%d","type":"work","payload":{"ms":%d}}`, n%40, n, n%60)
			resp, err := http.Post(s.api+"/v1/events", "application/json", strings.NewReader(body))
			if err != nil {
				continue // the server ends
			}
			resp.Body.Close()
		}
	}()
	s.t.Cleanup(func() { cancel(); <-ended })
}

// goTo opens a path, and waits for the text on it.
func (s *site) goTo(path, text string) {
	s.t.Helper()
	s.run(chromedp.Navigate(s.base + path))
	s.see(text)
}

// see waits until the page is loaded, its script too, and shows text.
func (s *site) see(text string) {
	s.t.Helper()
	wanted, err := json.Marshal(text)
	if err != nil {
		s.t.Fatal(err)
	}
	shown := chromedp.Evaluate[bool]("document.readyState === 'complete' && document.body.innerText.includes(" + string(wanted) + ")")
	ctx, cancel := s.bounded()
	defer cancel()
	for {
		// An error may be that the page was left meanwhile.
		if yes, err := chromedp.Run(ctx, shown); yes {
			return
		} else if ctx.Err() != nil {
			s.t.Fatalf("%q is never shown: %v\n%s", text, err, value(s, chromedp.Text(chromedp.CSS("body"))))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// quiet fails the test if the browser had something to complain about.
func (s *site) quiet() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.complaints {
		s.t.Error("the browser:", c)
	}
	s.complaints = nil
}

// picture keeps how the page looks, where PAGE_PICTURES names a folder for that.
func (s *site) picture(name string) {
	dir := os.Getenv("PAGE_PICTURES")
	if dir == "" {
		return
	}
	png := value(s, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		s.t.Error(err)
	}
}

// theme sets the colours that the person prefers.
func (s *site) theme(name string) {
	s.t.Helper()
	command(s, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

func (s *site) scripts(on bool) {
	s.t.Helper()
	command(s, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

func press(keys string) step { return chromedp.KeyEvent(keys) }
