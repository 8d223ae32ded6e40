package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

func TestPreferredWait(t *testing.T) {
	tests := []struct {
		lines []string
		want  int
	}{
		{nil, 0}, {[]string{"wait=10"}, 10}, {[]string{"WAIT = \"7\" ; x=y"}, 7}, {[]string{"respond-async, wait=5"}, 5},
		{[]string{`foo="a, wait=3\", wait=4"; bar="wait=5"`, "return=minimal", "wait=6"}, 6},
		{[]string{"wait=2, wait=9"}, 2}, {[]string{"wait=61"}, 60}, {[]string{"wait=99999999999999999999"}, 60},
		{[]string{"wait=-1"}, 0}, {[]string{"wait=1.5"}, 0}, {[]string{"wait=+3"}, 0}, {[]string{"wait"}, 0}, {[]string{"wait="}, 0}, {[]string{"wait=x, wait=9"}, 0}, {[]string{`"wait=3`}, 0}, {[]string{"waits=3"}, 0},
	}
	for _, tt := range tests {
		if got := preferredWait(http.Header{"Prefer": tt.lines}); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.lines, got, tt.want)
		}
	}
}

const pendingReceipt = `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":false}`

// asked sends an event with Prefer: wait=10 and returns once the store waits.
func asked(h http.Handler, s *fakeStore) <-chan *httptest.ResponseRecorder {
	answered := make(chan *httptest.ResponseRecorder, 1)
	s.waiting = make(chan int64)
	go func() { answered <- request(h, "POST", "/v1/events", goodEvent, "Prefer", "wait=10") }()
	<-s.waiting
	return answered
}

func TestWaitForAResult(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	answered := asked(h, s)
	s.settle(1, db.Result{Status: db.Done, Output: []byte(`7`)})
	w := <-answered
	wantJSON(t, w, 200, `{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":false,"result":7}`)
	if got := w.Header().Get("Preference-Applied"); got != "wait=10" {
		t.Errorf("Preference-Applied %q", got)
	}
	// What is finished already is not waited for.
	w = request(h, "POST", "/v1/events", goodEvent, "Prefer", "wait=10")
	wantJSON(t, w, 200, `{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":true,"result":7}`)
}

func TestWaitEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		start := time.Now()
		w := <-asked(newAPI(t, Options{Store: s}), s)
		wantJSON(t, w, 202, pendingReceipt)
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("answered after %v", got)
		}
		if w.Header().Get("Preference-Applied") != "wait=10" || w.Header().Get("Location") == "" {
			t.Errorf("headers %v", w.Header())
		}
	})
}

func TestWaitEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		stopping := make(chan struct{})
		start := time.Now()
		answered := asked(newAPI(t, Options{Store: s, Stopping: stopping}), s)
		close(stopping)
		wantJSON(t, <-answered, 202, pendingReceipt)
		if got := time.Since(start); got != 0 {
			t.Errorf("answered %v after the stop began", got)
		}
	})
}
