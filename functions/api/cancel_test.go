package api

import (
	"fmt"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite"
)

func TestCancel(t *testing.T) {
	for _, c := range []struct{ target, body, key, reason string }{
		{"/v1/events/a/m%2F1", ``, "", ""}, {"/v1/events/a/m%2F1?reason=not+wanted", ``, "k", "not wanted"},
		{"/v1/events/a/m%2F1", `{"reason":"not wanted"}`, "", "not wanted"}, {"/v1/events/a/m%2F1?reason=x", `{}`, "", "x"},
	} {
		store := &fakeStore{}
		h := newAPI(t, Options{Store: store})
		postAs(h, "a", "m/1")
		var headers []string
		if c.key != "" {
			headers = []string{"Idempotency-Key", `"` + c.key + `"`}
		}
		w := request(h, "DELETE", c.target, c.body, headers...)
		want := db.Command{Verb: db.Cancel, ClientID: "a", Seq: 1, Who: "anyone", Reason: c.reason, Key: c.key}
		if w.Code != 200 || len(store.acts) != 1 || store.acts[0] != want {
			t.Errorf("%s %s: %d %s\n did %+v\nwant %+v", c.target, c.body, w.Code, w.Body, store.acts, want)
		}
	}
}

func TestCancelRefuses(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	postAs(h, "a", "1")
	wantProblem(t, request(h, "DELETE", "/v1/events/a/2", ""), 404, "not-found")
	wantProblem(t, request(h, "DELETE", "/v1/events/b/1", ""), 404, "not-found")
	if p := wantProblem(t, request(h, "DELETE", "/v1/events/a/1?reason=x", `{"reason":"y"}`), 400, "invalid-request"); len(p.Errors) != 1 || p.Errors[0].Parameter != "reason" {
		t.Errorf("two reasons: %+v", p)
	}
	for _, body := range []string{`{"seq":1}`, `{"reason":"` + strings.Repeat("r", maxReason+1) + `"}`, `[]`} {
		wantProblem(t, request(h, "DELETE", "/v1/events/a/1", body), 400, "invalid-request")
	}
	wantProblem(t, request(h, "DELETE", "/v1/events/a/1?reason="+strings.Repeat("r", maxReason+1), ""), 400, "invalid-request")
	if len(store.acts) != 0 {
		t.Errorf("did %+v", store.acts)
	}
}

// The event of an account is cancelled once, in whatever order it stands, unless it runs.
func TestCancelsInAStore(t *testing.T) {
	realStore(t, func(t *testing.T, store *sqlite.DB) {
		h := newAPI(t, Options{Store: store})
		head := parked(t, h, store, "a", 3)
		store.SetRunning(func(clientID string, seq int64) bool { return clientID == "a" && seq == head.Seq })
		wantProblem(t, request(h, "DELETE", "/v1/events/a/0", ""), 409, "too-late")
		w := request(h, "DELETE", "/v1/events/a/2?reason=spam", "")
		if got := acted(t, w); !got.Changed || got.Seq != head.Seq+2 || got.Account.Pending != 2 || got.Account.State != "parked" || !strings.Contains(w.Body.String(), `"state":"dead"`) {
			t.Errorf("%s", w.Body)
		}
		if got := acted(t, request(h, "DELETE", "/v1/events/a/2", "")); got.Changed {
			t.Errorf("again: %+v", got)
		}
		if ev, err := store.Find(t.Context(), "a", "2"); err != nil || ev.State != db.Dead || ev.Result.Error != "cancelled: spam" {
			t.Errorf("%+v, %v", ev, err)
		}
		store.SetRunning(func(string, int64) bool { return false })
		if got := acted(t, request(h, "DELETE", "/v1/events/a/0", "")); !got.Changed || got.Account.State != "ready" || got.Account.HeadSeq != head.Seq+1 {
			t.Errorf("the head: %+v", got)
		}
		if audit := request(h, "GET", "/v1/audit?verb=cancel", ""); strings.Count(audit.Body.String(), `"verb":"cancel"`) != 3 {
			t.Errorf("audit: %s", audit.Body)
		}
		changed, _ := operatorsOf(t, h, "DELETE", "/v1/events/a/1", "")
		if changed != 1 {
			t.Errorf("%d of 32 operators cancelled the event", changed)
		}
		if again := fmt.Sprint(request(h, "GET", "/v1/events/a/1", "").Body); !strings.Contains(again, `"state":"dead"`) {
			t.Errorf("%s", again)
		}
	})
}
