package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"inturn/db"
)

const goodEvent = `{"client_id":"a","message_id":"1","payload":{"phone":"+7","text":"hi"}}`

func TestAnEventAndItsRepeats(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	w := request(h, "POST", "/v1/events", goodEvent)
	wantJSON(t, w, 202, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":false}`)
	if got := w.Header().Get("Location"); got != "/v1/events/a/1" {
		t.Errorf("Location %q", got)
	}
	w = request(h, "POST", "/v1/events", strings.ReplaceAll(goodEvent, ":", " :\n\t"))
	wantJSON(t, w, 202, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":true}`)
	if got := w.Header().Get("Location"); got != "/v1/events/a/1" {
		t.Errorf("Location of a repeat %q", got)
	}
	s.settle(1, db.Result{Status: db.Done, Output: []byte(`{"client":7}`)})
	wantJSON(t, request(h, "POST", "/v1/events", goodEvent), 200,
		`{"client_id":"a","message_id":"1","seq":1,"state":"done","duplicate":true,"result":{"client":7}}`)

	for i, r := range []struct {
		result db.Result
		want   string
	}{
		{db.Result{Status: db.Done}, `"state":"done","duplicate":true,"result":null}`},
		{db.Result{Status: db.Dead, Error: "bad \"thing\"\xff"}, `"state":"dead","duplicate":true,"result":null,"error":"bad \"thing\"` + "\ufffd" + `"}`},
	} {
		ev := strings.Replace(goodEvent, `"1"`, fmt.Sprintf(`"m%d"`, i), 1)
		request(h, "POST", "/v1/events", ev)
		s.settle(int64(i+2), r.result)
		wantJSON(t, request(h, "POST", "/v1/events", ev), 200, fmt.Sprintf(`{"client_id":"a","message_id":"m%d","seq":%d,%s`, i, i+2, r.want))
	}

	for _, other := range []string{strings.Replace(goodEvent, "hi", "ho", 1), strings.Replace(goodEvent, `"payload"`, `"type":"any","payload"`, 1)} {
		if p := wantProblem(t, request(h, "POST", "/v1/events", other), 422, "id-reused"); p.Seq != 1 {
			t.Errorf("seq %d", p.Seq)
		}
	}
}

func TestRefusedEvents(t *testing.T) {
	event := func(field, value string) string {
		fields := map[string]string{"client_id": `"a"`, "message_id": `"1"`, "type": `"message"`, "payload": `{"phone":"+7"}`}
		fields[field] = value
		return fmt.Sprintf(`{"client_id":%s,"message_id":%s,"type":%s,"payload":%s}`, fields["client_id"], fields["message_id"], fields["type"], fields["payload"])
	}
	long := `"` + strings.Repeat("x", 257) + `"`
	tests := []struct{ body, pointer string }{
		{event("client_id", `""`), "#/client_id"}, {event("client_id", long), "#/client_id"}, {event("client_id", `"a\u0000"`), "#/client_id"},
		{event("client_id", `"."`), "#/client_id"}, {event("client_id", `".."`), "#/client_id"}, {event("client_id", `7`), "#/client_id"},
		{event("message_id", `""`), "#/message_id"}, {event("message_id", long), "#/message_id"}, {event("message_id", `"\n"`), "#/message_id"},
		{event("message_id", `"."`), "#/message_id"}, {event("message_id", `null`), "#/message_id"},
		{event("type", `"nothing"`), "#/type"}, {event("type", `""`), "#/type"}, {event("type", `null`), "#/type"},
		{event("payload", `{"phone":"7"}`), "#/payload/phone"}, {event("payload", `{"phone":7}`), "#/payload/phone"},
		{event("payload", `[]`), "#/payload"}, {event("payload", `{"phone":"+7","text":"plain"}`), "#/payload"},
	}
	for _, tt := range tests {
		s := &fakeStore{}
		p := wantProblem(t, request(newAPI(t, Options{Store: s}), "POST", "/v1/events", tt.body), 400, "invalid-event")
		if len(p.Errors) != 1 || p.Errors[0].Pointer != tt.pointer || p.Errors[0].Detail == "" {
			t.Errorf("%.80s: got %+v, want %s", tt.body, p.Errors, tt.pointer)
		}
		if len(s.events) != 0 {
			t.Errorf("%.80s: was stored", tt.body)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	tests := []struct {
		name, value string
		status      int
	}{
		{"Content-Type", "", 202}, {"Content-Type", "application/json", 202}, {"Content-Type", "APPLICATION/JSON ; Charset=\"UTF-8\"", 202},
		{"Content-Type", "application/x-www-form-urlencoded", 202}, {"Content-Type", "application/x-ndjson", 200},
		{"Content-Type", "application/json; charset=latin1", 415}, {"Content-Type", "text/plain", 415}, {"Content-Type", ";", 415},
		{"Content-Type", "application/cloudevents+json", 400}, {"Content-Type", "application/cloudevents-batch+json", 400},
		{"Content-Type", "application/cloudevents", 415}, {"Content-Type", "application/cloudevents+xml", 415},
		{"Content-Type", "application/cloudevents+json; charset=latin1", 415},
		{"Content-Encoding", "identity", 202}, {"Content-Encoding", "gzip", 415}, {"Ce-Specversion", "1.0", 400}, {"Ce-Id", "1", 400},
	}
	for _, tt := range tests {
		w := request(newAPI(t, Options{}), "POST", "/v1/events", goodEvent, tt.name, tt.value)
		if w.Code != tt.status {
			t.Errorf("%s: %s: %d %s", tt.name, tt.value, w.Code, w.Body)
			continue
		}
		if tt.status != 415 {
			continue
		}
		wantProblem(t, w, 415, "unsupported-media-type")
		if w.Header().Get("Accept") != accepted {
			t.Errorf("Accept %q", w.Header().Get("Accept"))
		}
	}
}

func TestWhatTheStorageRefuses(t *testing.T) {
	tests := []struct {
		err    error
		status int
		name   string
	}{
		{db.ErrAccountFull, 429, "account-full"}, {db.ErrBacklogFull, 503, "backlog-full"}, {db.ErrOverloaded, 503, "overloaded"},
		{db.ErrStorageFull, 503, "storage-full"}, {db.ErrOutcomeUnknown, 503, "outcome-unknown"}, {db.ErrUnavailable, 503, "unavailable"},
		{db.ErrFenced, 503, "unavailable"}, {db.ErrCorrupt, 503, "unavailable"}, {db.ErrClosed, 503, "shutting-down"},
		{context.Canceled, 503, "outcome-unknown"}, {context.DeadlineExceeded, 503, "outcome-unknown"},
		{errors.New("secret path"), 500, "internal"},
	}
	for _, tt := range tests {
		log, lines := logLines()
		counted := &counts{}
		h := newAPI(t, Options{Store: &fakeStore{err: fmt.Errorf("secret path: %w", tt.err)}, Log: log,
			Observer: counted})
		w := request(h, "POST", "/v1/events", goodEvent)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: the cause is shown: %s", tt.err, w.Body)
		}
		wantProblem(t, w, tt.status, tt.name)
		if got, want := counted.String(), "problem "+tt.name+", refused"; got != want {
			t.Errorf("counted %q, want %q", got, want)
		}
		if got := lines(); len(got) != 1 || !strings.Contains(fmt.Sprint(got[0]["cause"]), "secret path") {
			t.Errorf("%v: the log lacks the cause: %v", tt.err, got)
		}
	}
}

func TestStoppingRefusesEvents(t *testing.T) {
	stopping := make(chan struct{})
	h := newAPI(t, Options{Stopping: stopping, Functions: testSet(t, hook)})
	request(h, "POST", "/v1/events", goodEvent)
	close(stopping)
	for _, target := range []string{"/v1/events", "/hooks/a/1"} {
		w := request(h, "POST", target, goodEvent)
		wantProblem(t, w, 503, "shutting-down")
		if w.Header().Get("Connection") != "close" {
			t.Error("the connection is kept")
		}
	}
	if w := request(h, "GET", "/v1/events/a/1", ""); w.Code != 200 {
		t.Errorf("reading while stopping: %d", w.Code)
	}
}

// countingReader says how much of a body was asked for.
type countingReader struct{ read int }

func (r *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	r.read += len(p)
	return len(p), nil
}

func TestLargeBodies(t *testing.T) {
	h := newAPI(t, Options{MaxEvent: 1000, Functions: testSet(t, hook)})
	exact := strings.Replace(goodEvent, "hi", strings.Repeat("x", 1000-len(goodEvent)+2), 1)
	if w := request(h, "POST", "/v1/events", exact); w.Code != 202 {
		t.Errorf("a body of exactly the bound: %d %s", w.Code, w.Body)
	}
	for _, target := range []string{"/v1/events", "/hooks/a/1"} {
		for _, length := range []int64{-1, 1 << 40} {
			body := &countingReader{}
			r := httptest.NewRequest("POST", target, body)
			r.ContentLength = length
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			p := wantProblem(t, w, 413, "too-large")
			if !strings.Contains(p.Detail, "1000 bytes") {
				t.Errorf("detail %q", p.Detail)
			}
			if body.read > 1001 || length > 0 && body.read > 0 {
				t.Errorf("Content-Length %d: %d bytes were read", length, body.read)
			}
		}
	}
}

func TestAllBodiesTogetherAreBounded(t *testing.T) {
	s := &fakeStore{}
	f, h := newIngestAPI(Options{Store: s, Functions: testSet(t)})
	large := strings.Repeat(" ", firstRead) + goodEvent
	f.bodies.Store(maxHeld)
	wantProblem(t, request(h, "POST", "/v1/events", large), 503, "overloaded")
	if w := request(h, "POST", "/v1/events", goodEvent); w.Code != 202 {
		t.Errorf("a small event is kept out by large ones: %d %s", w.Code, w.Body)
	}
	f.bodies.Store(maxHeld + smallHeld)
	wantProblem(t, request(h, "POST", "/v1/events", goodEvent), 503, "overloaded")
	f.bodies.Store(0)
	for range 3 {
		request(h, "POST", "/v1/events", goodEvent)
		request(h, "POST", "/v1/events", "{")
	}
	if n := f.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
	// Who only waits for a result holds no body.
	answered := asked(h, s)
	if n := f.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are counted during a wait", n)
	}
	s.settle(1, db.Result{Status: db.Done})
	<-answered
}

// The last bytes and the end of a body may come in one Read.
func TestABodyOneByteTooLarge(t *testing.T) {
	body := iotest.DataErrReader(strings.NewReader(goodEvent))
	r := httptest.NewRequest("POST", "/v1/events", body)
	r.ContentLength = -1
	w := httptest.NewRecorder()
	newAPI(t, Options{MaxEvent: int64(len(goodEvent) - 1)}).ServeHTTP(w, r)
	wantProblem(t, w, 413, "too-large")
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestABodyThatEndsEarly(t *testing.T) {
	w := httptest.NewRecorder()
	newAPI(t, Options{}).ServeHTTP(w, httptest.NewRequest("POST", "/v1/events", brokenBody{}))
	wantProblem(t, w, 400, "invalid-request")
}

func TestIDsInLocationsAndPaths(t *testing.T) {
	h := newAPI(t, Options{})
	for _, id := range []string{"a/b", "a//b", "a b", "ü%2F?#", "...", "a/../b"} {
		w := request(h, "POST", "/v1/events", fmt.Sprintf(`{"client_id":%q,"message_id":%q,"type":"any","payload":1}`, id, id))
		if w.Code != 202 {
			t.Fatalf("%s: %d %s", id, w.Code, w.Body)
		}
		if w := request(h, "GET", w.Header().Get("Location"), ""); w.Code != 200 || !strings.Contains(w.Body.String(), fmt.Sprintf(`"client_id":%q`, id)) {
			t.Errorf("GET %s: %d %s", w.Header().Get("Location"), w.Code, w.Body)
		}
	}
}
