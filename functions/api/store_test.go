package api

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite"
)

// The answers of the real storage, in memory and on a file.
func TestWithTheRealStore(t *testing.T) {
	for name, path := range map[string]string{"memory": ":memory:", "file": filepath.Join(t.TempDir(), "inturn.db")} {
		t.Run(name, func(t *testing.T) {
			set := testSet(t)
			store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Check: set.Check, MaxAccountPending: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			appended := make(chan db.Event, 100)
			store.OnAppend(func(events []db.Event) {
				for _, ev := range events {
					appended <- ev
				}
			})
			h, err := New(Options{Store: store, Functions: set})
			if err != nil {
				t.Fatal(err)
			}
			admin := Admin(Options{Store: store})

			wantJSON(t, request(h, "POST", "/v1/events", goodEvent), 202, pendingReceipt)
			wantJSON(t, request(h, "POST", "/v1/events", " "+goodEvent), 202, strings.Replace(pendingReceipt, "false", "true", 1))
			if p := wantProblem(t, request(h, "POST", "/v1/events", strings.Replace(goodEvent, "hi", "ho", 1)), 422, "id-reused"); p.Seq != 1 {
				t.Errorf("seq %d", p.Seq)
			}
			wantProblem(t, request(h, "POST", "/v1/events", strings.Replace(goodEvent, `"1"`, `"2"`, 1)), 429, "account-full")
			wantProblem(t, request(h, "GET", "/v1/events/a/2", ""), 404, "not-found")
			wantJSON(t, request(admin, "GET", "/readyz", ""), 200, `{"status":"ready"}`)

			// A sender that waits gets the result of the settle.
			waiting := make(chan *httptest.ResponseRecorder, 1)
			go func() { waiting <- request(h, "POST", "/v1/events", goodEvent, "Prefer", "wait=60") }()
			n, err := store.Settle([]db.Settlement{{Event: <-appended, Status: db.Done, StartedAt: time.Now(),
				Effect: func(db.Tx) (any, error) { return map[string]int{"client": 1}, nil }}})
			if n != 1 || err != nil {
				t.Fatal(n, err)
			}
			wantJSON(t, <-waiting, 200, `{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":true,"result":{"client":1}}`)

			const micro = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"`
			event := regexp.MustCompile(`^{"client_id":"a","message_id":"1","seq":1,"state":"done","type":"message","payload":{"phone":"\+7","text":"hi"},` +
				`"request_id":"\w+","received_at":` + micro + `,"run":1,"attempts":\d,"started_at":` + micro + `,"finished_at":` + micro + `,"result":{"client":1}}\n$`)
			if w := request(h, "GET", "/v1/events/a/1", ""); !event.MatchString(w.Body.String()) {
				t.Errorf("GET: %s", w.Body)
			}

			// One event sent by many at once is one event.
			var senders sync.WaitGroup
			answers := make(chan string, 64)
			for range cap(answers) {
				senders.Go(func() {
					answers <- request(h, "POST", "/v1/events", strings.Replace(goodEvent, `"a"`, `"b"`, 1)).Body.String()
				})
			}
			senders.Wait()
			close(answers)
			firsts := 0
			for a := range answers {
				if !strings.Contains(a, `"seq":2,"state":"pending","duplicate":`) {
					t.Errorf("got %s", a)
				}
				if strings.Contains(a, "false") {
					firsts++
				}
			}
			if firsts != 1 {
				t.Errorf("%d answers say that they were the first", firsts)
			}
			if p := listOf(t, h, "?state=pending"); len(p.Events) != 1 || p.Events[0].Seq != 2 {
				t.Errorf("pending: %+v", p)
			}
			if p := listOf(t, h, "?client_id=a&state=done"); len(p.Events) != 1 || p.Events[0].Seq != 1 {
				t.Errorf("done: %+v", p)
			}

			// A sender that has ended its half of the connection gets its answer; a read is cut
			// short, without a stack of SQL errors.
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/v1/events", strings.NewReader(goodEvent)))
			if w.Code != 200 {
				t.Errorf("a repeat of a sender that has ended its half: %d %s", w.Code, w.Body)
			}
			w = httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v1/events/a/1", nil))
			wantProblem(t, w, 503, "overloaded")

			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, request(h, "POST", "/v1/events", goodEvent), 503, "shutting-down")
			wantProblem(t, request(admin, "GET", "/readyz", ""), 503, "shutting-down")
		})
	}
}
