package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const statusAnswer = `{"at":"2026-01-31T12:00:00Z","ready":true,"pending":%d,"scheduled":0,"dead":100000,"waiting":3,"running":1,"retrying":1,"parked":1,"stuck":0,"paused":4,
"rates":{"accepted":1.25,"done":2},"oldest":{"received_at":"2026-01-31T11:58:30Z","age_seconds":90},"types_without_function":[{"type":"gr\u001beet","accounts":1}],
"endpoints":[{"type":"charge","state":"down"}],"storage":{"file_bytes":1536,"wal_bytes":20,"disk_free_bytes":1073741824,"disk_size_bytes":2147483648,"full":false},
"warnings":["look at \u001b[2J this"]}`

const statusScreen = `at            2026-01-31T12:00:00Z
takes events  yes
events        1 pending, 0 scheduled, 100000 or more dead
accounts      3 waiting, 1 running, 1 retrying, 1 parked, 0 stuck, 4 paused
rates         1.2/s accepted, 2.0/s done
oldest        1m30s, since 2026-01-31T11:58:30Z
no function   gr\u001beet, 1 account waits
endpoint      charge down
storage       file 1.5 KiB, WAL 20 B, 1.0 GiB of 2.0 GiB free
warning       look at \u001b[2J this
`

// statusServer answers with a number of pending events that grows with each request, but
// refuses those that fails names.
func statusServer(t *testing.T, fails func(n int64) bool, asked func(n int64)) string {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		asked(n)
		if r.URL.Path != "/v1/status" || fails(n) {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, statusAnswer, n)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestStatus(t *testing.T) {
	url := statusServer(t, func(n int64) bool { return n > 2 }, func(int64) {})
	out, text, _ := newIO()
	if err := (Status{Client: Client{URL: url}}).Run(t.Context(), out); err != nil || text.String() != statusScreen {
		t.Errorf("%v:\n%s\nwant\n%s", err, text, statusScreen)
	}
	text.Reset()
	if err := (Status{Client: Client{URL: url}, JSON: true}).Run(t.Context(), out); err != nil || !strings.HasPrefix(text.String(), `{"at":"2026-01-31T12:00:00Z","ready":true,"pending":2,`) ||
		strings.Count(text.String(), "\n") != 1 {
		t.Errorf("%v: %s", err, text)
	}
	err := Status{Client: Client{URL: url}, Watch: true}.Run(t.Context(), out)
	if err == nil || !strings.HasPrefix(err.Error(), "status: 503") {
		t.Errorf("a watch of a server that never answered: %v", err)
	}
}

// A watch goes on where the server is away for a while, clears the screen before each, and
// ends without an error when its context does.
func TestStatusWatch(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	url := statusServer(t, func(n int64) bool { return n == 2 }, func(n int64) {
		if n == 4 {
			stop()
		}
	})
	s := Status{Client: Client{URL: url}}
	out, text, errOut := newIO()
	err := s.Client.with(func(a *asker) error { return s.watch(ctx, a, out, clearScreen, time.Millisecond) })
	want := clearScreen + statusScreen + clearScreen + strings.Replace(statusScreen, "1 pending", "3 pending", 1)
	if err != nil || text.String() != want {
		t.Errorf("%v:\n%q\nwant\n%q", err, text, want)
	}
	if got := errOut.String(); !strings.HasPrefix(got, "inturn: status: 503") || strings.Count(got, "\n") != 1 {
		t.Errorf("errors: %q", got)
	}
}
