package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"inturn/db"
)

const typicalEvent = `{"client_id":"client00000000000000000000000001","message_id":"0198a5c2-1c5e-7cc3-98c4-dc0c0c07398f","type":"message",` +
	`"payload":{"phone":"+70000000001","text":"Lorem ipsum dolor sit amet, consectetur adipiscing elit."}}`

func BenchmarkEnvelope(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(typicalEvent)))
	for b.Loop() {
		e := newEnvelope()
		e.body.WriteString(typicalEvent)
		if _, err := e.event(""); err != nil {
			b.Fatal(err)
		}
		e.free()
	}
}

// The same without the pool: what it saves.
func BenchmarkEnvelopeWithoutPool(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		e := new(envelope)
		e.body.WriteString(typicalEvent)
		if _, err := e.event(""); err != nil {
			b.Fatal(err)
		}
	}
}

type instantStore struct{ fakeStore }

func (*instantStore) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	return db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: 1, State: db.Pending}, nil
}

func (*instantStore) AppendBatch(ctx context.Context, b db.Batch) ([]db.AppendResult, error) {
	answers := make([]db.AppendResult, len(b.Events))
	for i, ev := range b.Events {
		answers[i].Receipt = db.Receipt{ClientID: ev.ClientID, MessageID: ev.MessageID, Seq: 1, State: db.Pending}
	}
	return answers, nil
}

type discardAnswer struct {
	header http.Header
	status int
}

func (w *discardAnswer) Header() http.Header         { return w.header }
func (w *discardAnswer) Write(b []byte) (int, error) { return len(b), nil }
func (w *discardAnswer) WriteHeader(status int)      { w.status = status }

// The whole of a POST but net/http's own part and the storage.
func BenchmarkPostEvent(b *testing.B) {
	h := newAPI(b, Options{Store: &instantStore{}})
	r, _ := http.NewRequest("POST", "/v1/events", nil)
	r.Header.Set("Content-Type", "application/json")
	body := strings.NewReader(typicalEvent)
	r.ContentLength = int64(len(typicalEvent))
	w := &discardAnswer{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(typicalEvent)
		r.Body = io.NopCloser(body)
		clear(w.header)
		h.ServeHTTP(w, r)
		if w.status != 202 {
			b.Fatal(w.status)
		}
	}
}
