package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions"
)

// fakeStore keeps events in memory and does what Store says.
type fakeStore struct {
	fakeActs
	mu       sync.Mutex
	events   []*db.StoredEvent
	settled  map[int64]chan struct{}
	err      error         // of the next calls
	waiting  chan int64    // if not nil, gets the seq of each Wait that has begun
	received chan db.Event // if not nil, gets each event that is appended

	batches   chan int         // if not nil, gets the size of each batch that has begun
	batchErrs []error          // of the next batches, one each; nil takes it
	full      map[string]error // what events of these accounts are told in a batch
	first     int64            // subtracted from the seqs that a batch answers
}

var fakeTime = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

func (s *fakeStore) find(clientID, messageID string) *db.StoredEvent {
	for _, e := range s.events {
		if e.ClientID == clientID && e.MessageID == messageID {
			return e
		}
	}
	return nil
}

func (s *fakeStore) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	if s.received != nil {
		s.received <- ev
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return db.Receipt{}, s.err
	}
	e := s.find(ev.ClientID, ev.MessageID)
	duplicate := e != nil
	if duplicate && (!bytes.Equal(e.Payload, ev.Payload) || e.Type != ev.Type) {
		return db.Receipt{}, &db.IDReusedError{Seq: e.Seq}
	}
	if !duplicate {
		ev.Seq, ev.ReceivedAt = int64(len(s.events)+1), fakeTime
		e = &db.StoredEvent{Event: ev, State: db.Pending}
		s.events = append(s.events, e)
		if s.settled == nil {
			s.settled = map[int64]chan struct{}{}
		}
		s.settled[ev.Seq] = make(chan struct{})
	}
	return db.Receipt{ClientID: e.ClientID, MessageID: e.MessageID, Seq: e.Seq, Duplicate: duplicate, State: e.State, Result: e.Result}, nil
}

// AppendBatch keeps the order of an account as sqlite.DB does, and has no limits.
func (s *fakeStore) AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error) {
	if s.batches != nil {
		select {
		case s.batches <- len(b.Events):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	err := s.err
	if len(s.batchErrs) > 0 {
		err, s.batchErrs = s.batchErrs[0], s.batchErrs[1:]
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var answers []db.AppendResult
	for _, ev := range b.Events {
		s.mu.Lock()
		full := s.full[ev.ClientID]
		s.mu.Unlock()
		if b.Refused[ev.ClientID] {
			answers = append(answers, db.AppendResult{Err: db.ErrNotAttempted})
			continue
		}
		if err = full; err == nil {
			var r db.Receipt
			if r, err = s.Append(ctx, ev); err == nil {
				r.Seq -= s.first
				if r.Duplicate {
					r.State, r.Result = "", nil
				}
				answers = append(answers, db.AppendResult{Receipt: r})
				continue
			}
		}
		if b.Refused != nil {
			b.Refused[ev.ClientID] = true
		}
		answers = append(answers, db.AppendResult{Err: err})
	}
	return answers, nil
}

func (s *fakeStore) settle(seq int64, r db.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Run, r.Attempts, r.StartedAt, r.FinishedAt = 1, 2, fakeTime.Add(time.Second), fakeTime.Add(2*time.Second)
	e := s.events[seq-1]
	e.State, e.Result = r.Status, &r
	close(s.settled[seq])
}

func (s *fakeStore) Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return db.StoredEvent{}, s.err
	}
	if e := s.find(clientID, messageID); e != nil {
		return *e, nil
	}
	return db.StoredEvent{}, db.ErrNotFound
}

func (s *fakeStore) State(ctx context.Context, seq int64) (db.State, error) {
	r, err := s.Result(ctx, seq)
	if r == nil {
		return db.Pending, err
	}
	return r.Status, err
}

func (s *fakeStore) Result(ctx context.Context, seq int64) (*db.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.events[seq+s.first-1].Result; r != nil {
		copied := *r
		return &copied, s.err
	}
	return nil, s.err
}

func (s *fakeStore) Events(ctx context.Context, f db.Filter) (found []db.StoredEvent, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Limit < 1 || f.Limit > 1000 {
		return nil, errors.New("limit out of bounds")
	}
	events := slices.Clone(s.events)
	if f.Newest {
		slices.Reverse(events)
	}
	for _, e := range events {
		if size := sizeOf(found); f.MaxBytes > 0 && size >= f.MaxBytes {
			break
		}
		follows := e.Seq > f.After
		if f.Newest {
			follows = f.After == 0 || e.Seq < f.After
		}
		ok := (f.ClientID == "" || f.ClientID == e.ClientID) && (f.Type == "" || f.Type == e.Type) && (f.State == "" || f.State == e.State) &&
			(f.RequestID == "" || f.RequestID == e.RequestID) && !e.ReceivedAt.Before(f.Since) && (f.Until.IsZero() || e.ReceivedAt.Before(f.Until))
		if len(found) < f.Limit && follows && ok {
			found = append(found, *e)
		}
	}
	return found, s.err
}

func (s *fakeStore) Wait(ctx context.Context, seq int64, stop <-chan struct{}) (*db.Result, error) {
	if s.waiting != nil {
		s.waiting <- seq
	}
	s.mu.Lock()
	settled := s.settled[seq]
	s.mu.Unlock()
	select {
	case <-settled:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.events[seq-1].Result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-stop:
		return nil, db.ErrClosed
	}
}

func (s *fakeStore) Ready() error { return s.err }

type message struct {
	Phone string `json:"phone"`
	Text  string `json:"text"`
}

func (m *message) Check() error {
	if !strings.HasPrefix(m.Phone, "+") {
		return functions.Field("phone", "must begin with +")
	}
	if m.Text == "plain" {
		return errors.New("plain text is refused")
	}
	return nil
}

// testSet has a typed function, one that takes any payload, and HTTP functions.
func testSet(t testing.TB, more ...functions.Function) *functions.Set {
	t.Helper()
	all := append([]functions.Function{
		functions.New("message", func(context.Context, db.Event, message) (db.Effect, error) { return nil, nil }),
		functions.New("any", func(context.Context, db.Event, json.RawMessage) (db.Effect, error) { return nil, nil }),
		functions.New("panics", func(context.Context, db.Event, panics) (db.Effect, error) { return nil, nil }),
	}, more...)
	set, err := functions.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

type panics struct{}

func (*panics) Check() error { panic("secret thing") }

func newAPI(t testing.TB, o Options) http.Handler {
	t.Helper()
	if o.Store == nil {
		o.Store = &fakeStore{}
	}
	if o.Functions == nil {
		o.Functions = testSet(t)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// live returns functions that nobody replaces.
func live(set *functions.Set) *liveSet {
	l := &liveSet{}
	l.set.Store(set)
	return l
}

// newIngestAPI returns a handler of POST /v1/events, and the front that counts its bodies.
func newIngestAPI(o Options) (*front, http.Handler) {
	o = o.complete()
	f := newFront(o)
	r := &router{mux: http.NewServeMux(), front: f}
	newIngestion(o, f, live(o.Functions)).register(r)
	return f, f.handler(r.routes)
}

// request asks h. headers are pairs of a name and a value.
func request(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if strings.HasPrefix(target, "/") {
		r.Host = "localhost"
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := documented(r, body, w); err != nil {
		panic(fmt.Sprintf("%s %s, answered %d %s: openapi.yaml: %v", method, target, w.Code, w.Body, err))
	}
	return w
}

type wireProblem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
	Seq       int64  `json:"seq"`
	Errors    []struct {
		Pointer   string `json:"pointer"`
		Parameter string `json:"parameter"`
		Detail    string `json:"detail"`
	} `json:"errors"`
}

// wantProblem checks that w is a whole problem of this name and returns it.
func wantProblem(t testing.TB, w *httptest.ResponseRecorder, status int, name string) wireProblem {
	t.Helper()
	var p wireProblem
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("status %d, the body is no problem: %v", w.Code, err)
	}
	if w.Code != status || p.Status != status || p.Type != "urn:inturn:problem:"+name {
		t.Fatalf("got %d (%d) %s: %s; want %d %s", w.Code, p.Status, p.Type, p.Detail, status, name)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	if p.Title == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != w.Header().Get("X-Request-Id") {
		t.Errorf("incomplete problem: %+v", p)
	}
	if (status == 503 || status == 429) != (w.Header().Get("Retry-After") != "") {
		t.Errorf("status %d with Retry-After %q", status, w.Header().Get("Retry-After"))
	}
	return p
}

func wantJSON(t testing.TB, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status || strings.TrimSpace(w.Body.String()) != body {
		t.Fatalf("got %d %s\nwant %d %s", w.Code, w.Body, status, body)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	if w.Header().Get("X-Request-Id") == "" {
		t.Error("no X-Request-ID")
	}
}

// logLines returns a logger of everything and what it has written, by line.
func logLines() (*slog.Logger, func() []map[string]any) {
	var buf syncBuffer
	return slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})), func() (lines []map[string]any) {
		d := json.NewDecoder(strings.NewReader(buf.String()))
		for {
			var line map[string]any
			if d.Decode(&line) == io.EOF {
				return lines
			}
			lines = append(lines, line)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
