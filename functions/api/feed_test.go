package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// source is a storage's Watch.
type source struct{ fn func([]db.Notice) }

func (s *source) watch(fn func([]db.Notice)) { s.fn = fn }

func notices(from, to int64) (list []db.Notice) {
	for seq := from; seq <= to; seq++ {
		list = append(list, db.Notice{Kind: db.NoticeAccepted, At: fakeTime, Seq: seq, ClientID: fmt.Sprint("c", seq%2), MessageID: fmt.Sprint("m", seq), Type: "message", Run: 1})
	}
	return list
}

// Whatever the pace of a reader is, what it got and what it was told to have missed follow
// each other without a gap.
func TestFeedCountsWhatIsMissed(t *testing.T) {
	var s source
	f := NewFeed(s.watch, 10)
	r, _, err := f.join("")
	if err != nil {
		t.Fatal(err)
	}
	seq, expected, total := int64(0), int64(1), int64(0)
	for _, published := range []int64{3, 10, 11, 25, 1, 100} {
		s.fn(notices(seq+1, seq+published))
		seq += published
		for {
			got, first, missed, more := r.read(make([]db.Notice, 0, 4))
			if expected += missed; first != expected {
				t.Fatalf("after %d: number %d, want %d", seq, first, expected)
			}
			for _, n := range got {
				if n.Seq != expected {
					t.Fatalf("after %d: seq %d, want %d", seq, n.Seq, expected)
				}
				expected++
			}
			if more != nil {
				break
			}
			total += missed
		}
		if expected != seq+1 {
			t.Fatalf("%d were read or missed, of %d", expected-1, seq)
		}
	}
	if total != 1+15+90 { // of 11, 25 and 100 ten are kept
		t.Errorf("%d missed", total)
	}
}

func TestFeedResumes(t *testing.T) {
	var s source
	f := NewFeed(s.watch, 10)
	var off func()
	f.after = func(_ time.Duration, fn func()) func() bool { off = fn; return func() bool { return true } }
	r, _, err := f.join("")
	if err != nil {
		t.Fatal(err)
	}
	s.fn(notices(1, 5))
	r.read(make([]db.Notice, 0, 3))
	cursor := r.cursor(3)
	r.leave()
	s.fn(notices(6, 7)) // nobody reads, and it is kept
	if r, known, err := f.join(cursor); err != nil || !known {
		t.Fatal(known, err)
	} else if got, first, missed, _ := r.read(make([]db.Notice, 0, 10)); first != 4 || len(got) != 4 || missed != 0 {
		t.Errorf("got %v from %d, %d missed", got, first, missed)
	} else {
		r.leave()
	}
	off()
	if s.fn != nil {
		t.Error("the source is on, and nobody reads")
	}
	if r, known, err := f.join(cursor); err != nil || known || s.fn == nil {
		t.Error("a cursor of another session is known", known, err)
	} else {
		off() // too late: somebody reads again
		if s.fn == nil {
			t.Error("the source went off under a reader")
		}
		r.leave()
	}
	for _, bad := range []string{"x", "-", "a-", "a--1", "a-1x", strings.Repeat("a", 80) + "-1"} {
		if _, _, err := f.join(bad); err == nil {
			t.Errorf("the cursor %q was taken", bad)
		}
	}
}

func TestFeedBoundsReaders(t *testing.T) {
	var s source
	f := NewFeed(s.watch, 10)
	for range maxFeedReaders {
		if _, _, err := f.join(""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.join(""); !isKind(err, overloaded) {
		t.Error(err)
	}
}

func isKind(err error, k kind) bool {
	p, ok := errors.AsType[*problem](err)
	return ok && p.kind == k
}

// watched returns the lines of GET /v1/watch as they come.
func watched(t *testing.T, url string, header http.Header) (lines *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(resp.Status, resp.Header)
	}
	return bufio.NewScanner(resp.Body)
}

func wantLines(t *testing.T, s *bufio.Scanner, want ...string) {
	t.Helper()
	for _, line := range want {
		if !s.Scan() {
			t.Fatalf("the stream ended before %q: %v", line, s.Err())
		}
		if got := s.Text(); !strings.HasPrefix(got, strings.TrimSuffix(line, "…")) || !strings.HasSuffix(line, "…") && got != line {
			t.Fatalf("got  %s\nwant %s", got, line)
		}
	}
}

func TestWatch(t *testing.T) {
	var s source
	stopping := make(chan struct{})
	feed := NewFeed(s.watch, 4)
	h, err := New(Options{Store: &fakeStore{}, Functions: testSet(t), Feed: feed, Stopping: stopping})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	lines := watched(t, server.URL+"/v1/watch?client_id=c1&type=message", nil)
	wantLines(t, lines, "retry: 1000", "")
	s.fn([]db.Notice{
		{Kind: db.NoticeAccepted, At: fakeTime, Seq: 1, ClientID: "c1", MessageID: "a\n\u2028", Type: "message", Run: 1},
		{Kind: db.NoticeAccepted, At: fakeTime, Seq: 2, ClientID: "c2", MessageID: "b", Type: "message", Run: 1},
		{Kind: db.NoticeAccepted, At: fakeTime, Seq: 3, ClientID: "c1", MessageID: "c", Type: "other", Run: 1},
		{Kind: db.NoticeSettled, At: fakeTime, Seq: 1, ClientID: "c1", MessageID: "a", Type: "message", Run: 2, State: db.Dead, Attempts: 3, Error: "<b>\nx"},
	})
	wantLines(t, lines,
		"id: …", "event: accepted", `data: {"client_id":"c1","message_id":"a\n…`, "",
		"id: …", "event: settled", `data: {"client_id":"c1","message_id":"a","seq":1,"type":"message","at":"2026-11-21T12:00:00.123456Z","run":2,"attempts":3,"state":"dead","error":"<b>\nx"}`, "")
	session := feed.session

	s.fn(notices(5, 14)) // four are kept
	behind := watched(t, server.URL+"/v1/watch", http.Header{"Last-Event-Id": {session + "-4"}})
	wantLines(t, behind, "retry: 1000", "", "id: "+session+"-10", "event: missed", `data: {"count":6}`, "", "id: "+session+"-11", "event: accepted", `data: {"client_id":"c1","message_id":"m11"…`)
	other := watched(t, server.URL+"/v1/watch", http.Header{"Last-Event-Id": {"OTHER-4"}})
	wantLines(t, other, "retry: 1000", "", "event: missed", `data: {"restarted":true}`, "")

	close(stopping)
	for lines.Scan() { // it ends, and doesn't hold the server up
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

func TestWatchRefuses(t *testing.T) {
	h := newAPI(t, Options{Feed: NewFeed((&source{}).watch, 4)})
	wantProblem(t, request(h, "GET", "/v1/watch?client_id=", ""), 400, "invalid-request")
	wantProblem(t, request(h, "GET", "/v1/watch?state=done", ""), 400, "invalid-request")
	wantProblem(t, request(h, "GET", "/v1/watch", "", "Last-Event-ID", "nonsense"), 400, "invalid-request")
	wantProblem(t, request(newAPI(t, Options{}), "GET", "/v1/watch", ""), 404, "not-found")
	only, err := LoadTokens(tokenFile(t, `{"tokens":[{"name":"a","hash":"`+HashToken("a")+`","scopes":["read"],"client_ids":["a"]},{"name":"i","hash":"`+HashToken("i")+`","scopes":["ingest"]}]}`), "")
	if err != nil {
		t.Fatal(err)
	}
	h = newAPI(t, Options{Feed: NewFeed((&source{}).watch, 4), Tokens: only})
	wantProblem(t, request(h, "GET", "/v1/watch", "", "Authorization", "Bearer a"), 403, "forbidden")
	wantProblem(t, request(h, "GET", "/v1/watch?client_id=b", "", "Authorization", "Bearer a"), 403, "forbidden")
	wantProblem(t, request(h, "GET", "/v1/watch?client_id=a", "", "Authorization", "Bearer i"), 403, "forbidden")
}
