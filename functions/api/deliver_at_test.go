package api

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite"
)

// TestDeliverAt: each way in takes the time, refuses what is none or too far, and compares
// that of a repeat.
func TestDeliverAt(t *testing.T) {
	set := testSet(t)
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: ":memory:", Check: set.Check})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	h, err := New(Options{Store: store, Functions: set})
	if err != nil {
		t.Fatal(err)
	}
	const data = `{"phone":"+7","text":"hi"}`
	plain := func(id, at string) string {
		return fmt.Sprintf(`{"client_id":"a","message_id":%q,"payload":%s,"deliver_at":%q}`, id, data, at)
	}
	cloud := func(id, at string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"a","type":"message","data":%s,"deliverat":%q}`, id, data, at)
	}
	ways := map[string]func(id, at string) *httptest.ResponseRecorder{
		"plain": func(id, at string) *httptest.ResponseRecorder { return request(h, "POST", "/v1/events", plain(id, at)) },
		"array": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", "["+plain(id, at)+"]", "Content-Type", "application/json")
		},
		"lines": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", plain(id, at), "Content-Type", "application/x-ndjson")
		},
		"structured": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", cloud(id, at), "Content-Type", "application/cloudevents+json")
		},
		"cloudbatch": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", "["+cloud(id, at)+"]", "Content-Type", "application/cloudevents-batch+json")
		},
		"binary": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", data, "Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", id, "ce-source", "a", "ce-type", "message", "ce-deliverat", at)
		},
		"header": func(id, at string) *httptest.ResponseRecorder {
			return request(h, "POST", "/v1/events", strings.Replace(plain(id, at), fmt.Sprintf(`,"deliver_at":%q`, at), "", 1), "Inturn-Deliver-At", at)
		},
	}
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	texts := map[string]string{
		"none": "tomorrow", "far": time.Now().Add(db.MaxDelay + time.Minute).Format(time.RFC3339), "old": "0001-01-01T00:00:00Z",
	}
	for name, send := range ways {
		for what, text := range texts {
			if w := send(name+what, text); !strings.Contains(w.Body.String(), "deliver") || strings.Contains(w.Body.String(), `"seq"`) {
				t.Errorf("%s, %s: %d %s", name, what, w.Code, w.Body)
			}
		}
		for i, zone := range []*time.Location{time.UTC, time.FixedZone("", 3600)} { // the same time
			w := send(name, at.In(zone).Format(time.RFC3339Nano))
			if body := w.Body.String(); !strings.Contains(body, `"state":"scheduled"`) || !strings.Contains(body, fmt.Sprintf(`"duplicate":%t`, i == 1)) {
				t.Errorf("%s: %d %s", name, w.Code, body)
			}
		}
		if w := send(name, at.Add(time.Second).Format(time.RFC3339Nano)); !strings.Contains(w.Body.String(), "id-reused") {
			t.Errorf("%s, at another time: %d %s", name, w.Code, w.Body)
		}
		ev, err := store.Find(t.Context(), "a", name)
		if err != nil || ev.State != db.Scheduled || !ev.DeliverAt.Equal(at) {
			t.Errorf("%s: %+v, %v", name, ev, err)
		}
		if w := request(h, "GET", "/v1/events/a/"+name, ""); !strings.Contains(w.Body.String(), `"deliver_at":"`+at.UTC().Format("2006-01-02T15:04:05.000000Z")+`"`) {
			t.Errorf("GET: %s", w.Body)
		}
	}
	wantProblem(t, request(h, "POST", "/v1/events", "["+plain("x", at.Format(time.RFC3339Nano))+"]", "Content-Type", "application/json", "Inturn-Deliver-At", at.Format(time.RFC3339)), 400, "invalid-event")
	if p := listOf(t, h, "?state=scheduled"); len(p.Events) != len(ways) {
		t.Errorf("%d are scheduled", len(p.Events))
	}
}

// TestAttempts: GET of an event has the errors of its attempts and what it emitted.
func TestAttempts(t *testing.T) {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	h := newAPI(t, Options{Store: store})
	ev := db.Event{ClientID: "a", MessageID: "1", Type: "message", Payload: []byte("{}")}
	r, err := store.Append(t.Context(), ev)
	if err != nil {
		t.Fatal(err)
	}
	ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 2
	if err := store.Hold(db.Hold{Event: ev, Attempts: 1, Error: `it "rains"`, Failed: true}); err != nil {
		t.Fatal(err)
	}
	next := db.Event{ClientID: "b", MessageID: "of 1", Type: "message", Payload: []byte("{}")}
	if _, err := store.Settle([]db.Settlement{{Event: ev, Status: db.Done, Held: true, Effect: func(tx db.Tx) (any, error) { return nil, tx.Emit(next) }}}); err != nil {
		t.Fatal(err)
	}
	body := request(h, "GET", "/v1/events/a/1", "").Body.String()
	for _, want := range []string{`"errors":[{"run":1,"attempt":1,"at":"20`, `,"error":"it \"rains\""}]`, `,"emitted":[{"client_id":"b","message_id":"of 1","seq":2,"state":"pending"}]}`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
}
