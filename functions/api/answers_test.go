package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// newBoundedAPI returns the whole API of a store with two large events and a small one.
func newBoundedAPI(t *testing.T) (*front, http.Handler) {
	t.Helper()
	s := &fakeStore{}
	for i, payload := range []string{strings.Repeat("x", 200_000), strings.Repeat("y", 200_000), "z"} {
		ev := db.Event{ClientID: "a", MessageID: string(rune('1' + i)), Type: "any", Payload: []byte(`"` + payload + `"`)}
		if _, err := s.Append(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(1, db.Result{Status: db.Done, Output: []byte(`"` + strings.Repeat("r", 100_000) + `"`)})
	o := Options{Store: s, Functions: testSet(t)}.complete()
	f := newFront(o)
	r := &router{mux: http.NewServeMux(), front: f}
	newIngestion(o, f, live(o.Functions)).register(r)
	newQueries(o, live(o.Functions)).register(r)
	return f, f.handler(r.routes)
}

// Past the bound of all answers large ones are told to come later, small ones are answered,
// and of many that are answered at once the large results are left out.
func TestAllAnswersTogetherAreBounded(t *testing.T) {
	f, h := newBoundedAPI(t)
	large := small("a", "1")
	large = strings.Replace(large, `"payload":"1"`, `"payload":"`+strings.Repeat("x", 200_000)+`"`, 1)
	f.answers.held.Store(f.answers.max / 4)
	for _, path := range []string{"/v1/events", "/v1/events/a/1", "/v1/events?client_id=a"} {
		wantProblem(t, request(h, "GET", path, ""), 503, "overloaded")
	}
	wantProblem(t, request(h, "POST", "/v1/events", large), 503, "overloaded")
	if w := request(h, "GET", "/v1/events/a/3", ""); w.Code != 200 {
		t.Errorf("a small answer: %d %s", w.Code, w.Body)
	}
	if got := postBatchOf(t, h, "/v1/events", "["+large+"]"); !got.Results[0].ResultOmitted || got.Results[0].State != "done" {
		t.Errorf("a batch: %.300s", said(got.Results))
	}
	if held := f.answers.held.Load(); held != f.answers.max/4 {
		t.Errorf("%d bytes are counted, want %d", held, f.answers.max/4)
	}
	f.answers.held.Store(0)
	for _, path := range []string{"/v1/events", "/v1/events/a/1"} {
		if w := request(h, "GET", path, ""); w.Code != 200 || w.Body.Len() < 300_000 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	if w := request(h, "POST", "/v1/events", large); w.Code != 200 || w.Body.Len() < 100_000 {
		t.Errorf("a repeat: %d, %d bytes", w.Code, w.Body.Len())
	}
	if got := postBatchOf(t, h, "/v1/events", "["+large+"]"); len(got.Results[0].Result) < 100_000 {
		t.Errorf("a batch: %.300s", said(got.Results))
	}
	if held := f.answers.held.Load(); held != 0 {
		t.Errorf("%d bytes are still counted", held)
	}
}

// A page that finds no room in its middle ends there, and the next one goes on.
func TestAPageEndsWhereThereIsNoRoom(t *testing.T) {
	f, h := newBoundedAPI(t)
	w := &fullAfter{ResponseRecorder: httptest.NewRecorder(), budget: f.answers}
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/v1/events", nil))
	if body := w.Body.String(); w.Code != 200 || !strings.HasSuffix(body, "],\"next\":1}\n") || !strings.Contains(body, `"message_id":"1"`) || strings.Contains(body, `"message_id":"2"`) {
		t.Errorf("%d, %d bytes: %.100s … %s", w.Code, len(body), body, body[len(body)-50:])
	}
}

// fullAfter fills the budget with the first write.
type fullAfter struct {
	*httptest.ResponseRecorder
	budget *answerBudget
}

func (w *fullAfter) Write(p []byte) (int, error) {
	w.budget.held.Store(w.budget.max)
	return w.ResponseRecorder.Write(p)
}

// A client that takes an answer slowly gets all of it, up to a bound; one that takes none is
// cut off.
func TestWriteDeadlinesFollowProgress(t *testing.T) {
	w := &answerWriter{x: &exchange{ResponseWriter: httptest.NewRecorder(), routed: true}}
	set := &writeDeadlines{ResponseWriter: w.x.ResponseWriter}
	w.rc = http.NewResponseController(set)
	w.append(make([]byte, answerChunk))
	if first := set.last; time.Until(first) > answerIdle || time.Until(first) < answerIdle-time.Minute/4 {
		t.Errorf("the first piece may take %v", time.Until(first))
	}
	w.deadline = time.Now().Add(answerIdle / 2) // half of the time is over
	w.append(make([]byte, answerChunk))
	if left := time.Until(set.last); left < answerIdle*3/4 {
		t.Errorf("after progress there are %v", left)
	}
	w.start, w.deadline = time.Now().Add(-answerTime+time.Second), time.Now()
	w.append(make([]byte, answerChunk))
	if left := time.Until(set.last); left > time.Second {
		t.Errorf("at the end of all time there are %v", left)
	}
}

// writeDeadlines remembers the last one.
type writeDeadlines struct {
	http.ResponseWriter
	last time.Time
}

func (d *writeDeadlines) SetWriteDeadline(t time.Time) error {
	d.last = t
	return nil
}
