package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tempDir gives the demo a folder to make its own in, and checks that it left none.
func tempDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

func TestDemo(t *testing.T) {
	for _, kind := range []string{"even", "random", "zipf"} {
		t.Run(kind, func(t *testing.T) {
			tempDir(t)
			server := &fakeServer{t: t}
			out, written, progress := newIO()
			d := Demo{Events: 600, Accounts: 150, Work: 5 * time.Millisecond, Distribution: kind, Seed: 3, JSON: true}
			if err := d.Run(t.Context(), out, server.start); err != nil {
				t.Fatal(err)
			}
			keys := regexp.MustCompile(`^\{"events":600,"accounts":150,"processed":600,"floor_seconds":[0-9.]+,"makespan_seconds":[0-9.]+,"ratio":[0-9.]+,"order_violations":0,"duplicates":0\}\n$`)
			if !keys.MatchString(written.String()) {
				t.Errorf("printed %s", written)
			}
			var v verdict
			if err := json.Unmarshal(written.Bytes(), &v); err != nil || v.Makespan <= 0 {
				t.Errorf("%v, %+v", err, v)
			}
			if kind == "even" && v.Floor != 0.02 {
				t.Errorf("floor %v of 4 events", v.Floor)
			}
			if !strings.HasSuffix(progress.String(), "accepted 600, processed 600 of 600\n") {
				t.Errorf("progress %s", progress)
			}
		})
	}
}

// The accounts take turns: a connection sends the first events of all its accounts
// before a second one.
func TestDemoInterleaves(t *testing.T) {
	tempDir(t)
	server := &fakeServer{t: t}
	out, written, _ := newIO()
	d := Demo{Events: 40, Accounts: 10, Work: time.Millisecond, Distribution: "even"}
	counts, _ := d.counts()
	// One connection sees it exactly.
	err := d.loadWith(t, server, func(s *sender) error {
		client, err := s.connect(t.Context())
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		var lanes []lane
		for i, n := range counts {
			lanes = append(lanes, lane{account: clientID(i), next: 1, count: n})
		}
		return s.sendLanes(t.Context(), client, lanes)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range server.order {
		if n != 1+i/10 {
			t.Fatalf("order of counters: %v", server.order)
		}
	}
	if err := d.Run(t.Context(), out, (&fakeServer{t: t}).start); err != nil || !strings.Contains(written.String(), "order violations  0\n") {
		t.Errorf("%v\n%s", err, written)
	}
}

// loadWith runs a server and gives send a sender for it.
func (d Demo) loadWith(t *testing.T, f *fakeServer, send func(*sender) error) error {
	server := startServer(t.Context(), t.TempDir(), f.start)
	addr, ca, err := server.ready(t.Context())
	if err != nil {
		return err
	}
	err = send(newSender(Client{URL: "https://" + addr, CACert: ca}, d.Work, d.Seed))
	return errors.Join(err, server.stop())
}

// What is refused or gets no answer is sent again under the same id, and the
// account's later events wait for it.
func TestDemoResends(t *testing.T) {
	tempDir(t)
	refused := 0
	server := &fakeServer{t: t, answer: func(w http.ResponseWriter, try int, stored bool) bool {
		if try > 1 {
			return false
		}
		refused++
		switch {
		case stored && refused%3 == 0:
			breakOff(w) // committed, and the answer is lost
		case stored:
			return false
		case refused%7 == 1:
			breakOff(w)
		case refused%7 == 3:
			refuse(w, http.StatusTooManyRequests)
		case refused%7 == 5:
			refuse(w, http.StatusServiceUnavailable)
		default:
			return false
		}
		return true
	}}
	out, written, _ := newIO()
	d := Demo{Events: 200, Accounts: 100, Work: time.Millisecond, Distribution: "random", JSON: true}
	if err := d.Run(t.Context(), out, server.start); err != nil {
		t.Fatal(err)
	}
	again := 0
	for _, n := range server.tries {
		if n > 1 {
			again++
		}
	}
	if again < 20 || !strings.Contains(written.String(), `"processed":200,`) {
		t.Errorf("%d events were sent again\n%s", again, written)
	}
}

// Whatever the engine does wrong shows in the exit status and in the numbers.
func TestDemoFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		settle func(account string, n int, r *ran) bool
		want   string
		err    string
	}{
		{"out of turn", func(account string, n int, r *ran) bool {
			if account == clientID(4) && n == 2 {
				r.started--
			}
			return true
		}, `"order_violations":1,"duplicates":0}`, "1 out of turn"},
		{"twice", func(account string, n int, r *ran) bool {
			if account == clientID(4) && n == 2 {
				r.times = 2
			}
			return true
		}, `"order_violations":0,"duplicates":1}`, "1 processed twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tempDir(t)
			out, written, _ := newIO()
			d := Demo{Events: 50, Accounts: 10, Work: time.Minute, Distribution: "even", JSON: true}
			err := d.Run(t.Context(), out, (&fakeServer{t: t, settle: c.settle}).start)
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(written.String(), c.want) {
				t.Errorf("%v\n%s", err, written)
			}
		})
	}
}

func TestDemoEndsEarly(t *testing.T) {
	d := Demo{Events: 100, Accounts: 10, Work: time.Millisecond, Distribution: "even"}
	quiet := IO{Out: io.Discard, Err: io.Discard}

	t.Run("interrupted", func(t *testing.T) {
		tempDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		// The engine never settles, so the demo waits until it is interrupted.
		server := &fakeServer{t: t, settle: func(_ string, n int, _ *ran) bool {
			if n == 10 {
				cancel()
			}
			return false
		}}
		if err := d.Run(ctx, quiet, server.start); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("interrupted before it is ready", func(t *testing.T) {
		tempDir(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := d.Run(ctx, quiet, func(ctx context.Context, _ string, _ func(string, string)) error {
			cancel()
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("the server does not start", func(t *testing.T) {
		tempDir(t)
		err := d.Run(t.Context(), quiet, func(context.Context, string, func(string, string)) error { return errBroken })
		if !errors.Is(err, errBroken) || !errors.Is(err, errServerEnded) {
			t.Error(err)
		}
	})
	t.Run("the server ends", func(t *testing.T) {
		tempDir(t)
		err := d.Run(t.Context(), quiet, func(ctx context.Context, dir string, ready func(string, string)) error {
			ctx, end := context.WithCancel(ctx)
			f := &fakeServer{t: t, settle: func(string, int, *ran) bool { end(); return true }}
			return errors.Join(errBroken, f.start(ctx, dir, ready))
		})
		if !errors.Is(err, errBroken) {
			t.Error(err)
		}
	})
	t.Run("events are refused for good", func(t *testing.T) {
		tempDir(t)
		f := &fakeServer{t: t, answer: func(w http.ResponseWriter, _ int, _ bool) bool {
			refuse(w, http.StatusUnauthorized)
			return true
		}}
		err := d.Run(t.Context(), quiet, f.start)
		if err == nil || err.Error() != "demo: send: 401 Unauthorized: refused: by the test" {
			t.Error(err)
		}
	})
}

func TestWait(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": retryAfter, "0": retryAfter, "-3": retryAfter, "x": retryAfter,
		"2": 2 * time.Second, "86400": maxRetryAfter, "9223372036854775807": maxRetryAfter,
	} {
		if got := wait(in); got != want {
			t.Errorf("wait(%q) = %v, want %v", in, got, want)
		}
	}
}
