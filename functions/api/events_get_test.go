package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"inturn/db"
)

func TestGetEvent(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	traceparent := "00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01"
	request(h, "POST", "/v1/events", goodEvent, "X-Request-ID", "req-1", "Traceparent", traceparent)
	begin := `{"client_id":"a","message_id":"1","seq":1,"state":"%s","type":"message","payload":{"phone":"+7","text":"hi"},` +
		`"attrs":{"traceparent":"` + traceparent + `"},"request_id":"req-1","received_at":"2026-11-21T12:00:00.123456Z"`
	wantJSON(t, request(h, "GET", "/v1/events/a/1", ""), 200, fmt.Sprintf(begin, "pending")+"}")
	s.settle(1, db.Result{Status: db.Dead, Error: "no"})
	wantJSON(t, request(h, "GET", "/v1/events/a/1", ""), 200, fmt.Sprintf(begin, "dead")+
		`,"run":1,"attempts":2,"started_at":"2026-11-21T12:00:01.123456Z","finished_at":"2026-11-21T12:00:02.123456Z","result":null,"error":"no"}`)
	wantProblem(t, request(h, "GET", "/v1/events/a/2", ""), 404, "not-found")
	s.err = fmt.Errorf("secret: %w", db.ErrCorrupt)
	wantProblem(t, request(h, "GET", "/v1/events/a/1", ""), 503, "unavailable")
}

type page struct {
	Events []struct {
		Seq int64 `json:"seq"`
	} `json:"events"`
	Next *int64 `json:"next"`
}

func list(t *testing.T, s *fakeStore, query string) page {
	t.Helper()
	return listOf(t, newAPI(t, Options{Store: s}), query)
}

func listOf(t *testing.T, h http.Handler, query string) (p page) {
	t.Helper()
	w := request(h, "GET", "/v1/events"+query, "")
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d, %v: %s", query, w.Code, err, w.Body)
	}
	return p
}

func TestListEvents(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	for i := range 250 {
		request(h, "POST", "/v1/events", fmt.Sprintf(`{"client_id":"c%d","message_id":"%d","type":"any","payload":%d}`, i%2, i, i), "X-Request-ID", fmt.Sprintf("r%d", i))
	}
	s.settle(4, db.Result{Status: db.Done})
	s.settle(5, db.Result{Status: db.Dead})
	tests := []struct {
		query             string
		count, first, end int64
		next              int64
	}{
		{"", 100, 1, 100, 100}, {"?after=100&limit=100", 100, 101, 200, 200}, {"?after=200", 50, 201, 250, 0},
		{"?limit=1000", 250, 1, 250, 0}, {"?limit=250", 250, 1, 250, 250}, {"?after=250", 0, 0, 0, 0}, {"?limit=1", 1, 1, 1, 1}, {"?limit=33", 33, 1, 33, 33},
		{"?client_id=c1&limit=50", 50, 2, 100, 100}, {"?state=done", 1, 4, 4, 0}, {"?state=dead&client_id=c0", 1, 5, 5, 0}, {"?state=dead&client_id=c1", 0, 0, 0, 0},
		{"?state=pending&limit=4", 4, 1, 6, 6}, {"?client_id=nobody", 0, 0, 0, 0},
		{"?order=asc&limit=2", 2, 1, 2, 2}, {"?order=desc", 100, 250, 151, 151}, {"?order=desc&after=151", 100, 150, 51, 51}, {"?order=desc&after=51", 50, 50, 1, 0},
		{"?order=desc&after=1", 0, 0, 0, 0}, {"?order=desc&limit=1000&client_id=c1", 125, 250, 2, 0}, {"?order=desc&limit=3&after=10&client_id=c1", 3, 8, 4, 4},
		{"?type=any&limit=1", 1, 1, 1, 1}, {"?type=message", 0, 0, 0, 0}, {"?request_id=r7", 1, 8, 8, 0}, {"?request_id=r", 0, 0, 0, 0},
		{"?since=2026-11-21T11:00:00Z&until=2026-11-21T13:00:00%2B01:00", 0, 0, 0, 0}, {"?since=2026-11-21T12:00:00.123456Z&limit=1", 1, 1, 1, 1},
		{"?since=2026-11-21T12:00:01Z", 0, 0, 0, 0}, {"?until=2026-11-21T12:00:00.123456Z", 0, 0, 0, 0}, {"?until=2026-11-21T12:00:00.123457Z&limit=1", 1, 1, 1, 1},
	}
	for _, tt := range tests {
		p := list(t, s, tt.query)
		ok := int64(len(p.Events)) == tt.count && (p.Next != nil) == (tt.next != 0) && (p.Next == nil || *p.Next == tt.next)
		if !ok || tt.count > 0 && (p.Events[0].Seq != tt.first || p.Events[tt.count-1].Seq != tt.end) {
			t.Errorf("%s: %d events, next %v", tt.query, len(p.Events), p.Next)
		}
	}
	if w := request(h, "GET", "/v1/events?client_id=nobody", ""); strings.TrimSpace(w.Body.String()) != `{"events":[]}` {
		t.Errorf("an empty page: %s", w.Body)
	}
	for _, query := range []string{"state=x", "state=", "limit=0", "limit=1001", "limit=x", "limit=", "after=-1", "after=x", "client_id=", "type=", "request_id=", "since=yesterday", "until=1", "since=", "order=newest", "order=", "until=2026-11-21T12:00:00Z&since=2026-11-21T12:00:00Z", "what=1", "limit=1&limit=2"} {
		p := wantProblem(t, request(h, "GET", "/v1/events?"+query, ""), 400, "invalid-request")
		if name, _, _ := strings.Cut(query, "="); len(p.Errors) != 1 || p.Errors[0].Parameter != name {
			t.Errorf("%s: %+v", query, p.Errors)
		}
	}
	wantProblem(t, request(h, "GET", "/v1/events?a=%zz", ""), 400, "invalid-request")
}

func TestAPageOfLargeEventsEndsEarly(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	for i := range 200 {
		request(h, "POST", "/v1/events", fmt.Sprintf(`{"client_id":"a","message_id":"%d","type":"any","payload":%q}`, i, strings.Repeat("x", 100<<10)))
	}
	seen, after := int64(0), int64(0)
	for pages := 1; ; pages++ {
		p := list(t, s, fmt.Sprintf("?limit=1000&after=%d", after))
		if n := len(p.Events); n > (maxPageBytes/(100<<10))+pageStep {
			t.Fatalf("a page of %d large events", n)
		}
		for _, e := range p.Events {
			if seen++; e.Seq != seen {
				t.Fatalf("seq %d at place %d", e.Seq, seen)
			}
		}
		if p.Next == nil {
			if seen != 200 || pages < 3 {
				t.Errorf("%d events on %d pages", seen, pages)
			}
			return
		}
		after = *p.Next
	}
}
