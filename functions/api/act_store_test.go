package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite"
)

// realStore is the real storage, in memory and on a file.
func realStore(t *testing.T, f func(t *testing.T, store *sqlite.DB)) {
	for name, path := range map[string]string{"memory": ":memory:", "file": filepath.Join(t.TempDir(), "inturn.db")} {
		t.Run(name, func(t *testing.T) {
			store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Check: testSet(t).Check})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			f(t, store)
		})
	}
}

// parked has events appended and parks the account's first one.
func parked(t *testing.T, h http.Handler, store *sqlite.DB, clientID string, events int) (head db.Event) {
	t.Helper()
	for i := range events {
		if status, _ := postAs(h, clientID, fmt.Sprint(i)); status != 202 {
			t.Fatal(status)
		}
	}
	pending, _, err := store.PendingAfter(t.Context(), clientID, 0, 1, 1<<20)
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	if err := store.Hold(db.Hold{Event: pending[0], Attempts: 3, Park: true, Error: "why"}); err != nil {
		t.Fatal(err)
	}
	return pending[0]
}

type actedAnswer struct {
	Changed, Duplicate bool
	Audit, Seq, Run    int64
	Account            struct {
		State    string
		Paused   bool
		Pending  int
		HeadSeq  int64 `json:"head_seq"`
		Attempts int
	}
}

func acted(t *testing.T, w *httptest.ResponseRecorder) (a actedAnswer) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
		t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
	}
	return a
}

// operators sends the same by 32 operators at once and counts who changed something.
func operators(t *testing.T, h http.Handler, target, body string, headers ...string) (changed, duplicates int) {
	t.Helper()
	return operatorsOf(t, h, "POST", target, body, headers...)
}

func operatorsOf(t *testing.T, h http.Handler, method, target, body string, headers ...string) (changed, duplicates int) {
	t.Helper()
	answers := make(chan *httptest.ResponseRecorder, 32)
	var all sync.WaitGroup
	for range cap(answers) {
		all.Go(func() { // not by request, whose look into openapi.yaml takes longer than the act
			r := httptest.NewRequest(method, target, strings.NewReader(body))
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answers <- w
		})
	}
	all.Wait()
	close(answers)
	for w := range answers {
		a := acted(t, w)
		if a.Changed {
			changed++
		}
		if a.Duplicate {
			duplicates++
		}
	}
	return changed, duplicates
}

// Whatever many operators type at the same time is done once, and all are told so.
func TestOperatorsRace(t *testing.T) {
	realStore(t, func(t *testing.T, store *sqlite.DB) {
		h := newAPI(t, Options{Store: store})
		first := parked(t, h, store, "a", 3)
		other := parked(t, h, store, "b", 1)
		skip := fmt.Sprintf(`{"seq":%d}`, first.Seq)
		if changed, _ := operators(t, h, "/v1/accounts/a/skip", skip); changed != 1 {
			t.Errorf("%d of 32 operators skipped the head", changed)
		}
		account, err := store.Account(t.Context(), "a")
		if err != nil || account.Pending != 2 || account.HeadSeq == first.Seq || account.Parked {
			t.Errorf("account %+v, %v", account, err)
		}
		// The head is another one now: neither the old one nor a guess is done.
		p := wantProblem(t, request(h, "POST", "/v1/accounts/a/skip", fmt.Sprintf(`{"seq":%d}`, other.Seq)), 409, "head-moved")
		if p.Seq != account.HeadSeq {
			t.Errorf("names head %d, which is %d", p.Seq, account.HeadSeq)
		}
		if acted(t, request(h, "POST", "/v1/accounts/a/retry", fmt.Sprintf(`{"seq":%d}`, account.HeadSeq))).Changed {
			t.Error("a head that nothing holds was retried")
		}

		redrive := fmt.Sprintf(`{"seq":%d,"run":1}`, first.Seq)
		if changed, _ := operators(t, h, "/v1/dead/redrive", redrive); changed != 1 {
			t.Errorf("%d of 32 operators redrove the event", changed)
		}
		if account, err = store.Account(t.Context(), "a"); err != nil || account.Pending != 3 {
			t.Errorf("account %+v, %v", account, err)
		}
		for _, verb := range []string{"pause", "resume"} {
			for _, target := range []string{"/v1/accounts/a/", "/v1/types/any/", "/v1/"} {
				if changed, _ := operators(t, h, target+verb, ""); changed != 1 {
					t.Errorf("%s%s: %d of 32 operators changed it", target, verb, changed)
				}
			}
		}
		// One key is one act, and each gets its answer.
		retry := fmt.Sprintf(`{"seq":%d}`, other.Seq)
		if changed, duplicates := operators(t, h, "/v1/accounts/b/retry", retry, "Idempotency-Key", `"k"`); changed != 32 || duplicates != 31 {
			t.Errorf("with one key: %d changed, %d duplicates", changed, duplicates)
		}
		wantProblem(t, request(h, "POST", "/v1/accounts/b/skip", retry, "Idempotency-Key", `"k"`), 422, "key-reused")
	})
}

// A token for some client_ids can't reach the event of another by its seq.
func TestActsStayWithTheirAccount(t *testing.T) {
	realStore(t, func(t *testing.T, store *sqlite.DB) {
		tokens, err := LoadTokens(tokenFile(t, fmt.Sprintf(`{"tokens":[{"name":"op-a","hash":%q,"scopes":["operate"],"client_ids":["a"]}]}`, HashToken("t"))), "")
		if err != nil {
			t.Fatal(err)
		}
		open := newAPI(t, Options{Store: store})
		h := newAPI(t, Options{Store: store, Tokens: tokens})
		ofA, ofB := parked(t, open, store, "a", 2), parked(t, open, store, "b", 2)
		if !acted(t, request(open, "POST", "/v1/accounts/b/skip", fmt.Sprintf(`{"seq":%d}`, ofB.Seq))).Changed {
			t.Fatal("b is not skipped")
		}
		bearer := []string{"Authorization", "Bearer t"}
		for _, c := range []struct {
			target, body string
			status       int
		}{
			{"/v1/dead/redrive", fmt.Sprintf(`{"seq":%d,"client_id":"a"}`, ofB.Seq), 404},
			{"/v1/dead/redrive", fmt.Sprintf(`{"seq":%d,"client_id":"b"}`, ofB.Seq), 403},
			{"/v1/dead/redrive", fmt.Sprintf(`{"seq":%d}`, ofB.Seq), 403},
			{"/v1/accounts/a/skip", fmt.Sprintf(`{"seq":%d}`, ofB.Seq), 409},
			{"/v1/accounts/a/retry", fmt.Sprintf(`{"seq":%d}`, ofB.Seq), 409},
			{"/v1/accounts/a/replay", fmt.Sprintf(`{"from":%d,"to":%d}`, ofB.Seq, ofB.Seq), 409},
		} {
			if w := request(h, "POST", c.target, c.body, bearer...); w.Code != c.status {
				t.Errorf("%s %s: %d %s, want %d", c.target, c.body, w.Code, w.Body, c.status)
			}
		}
		w := request(h, "POST", "/v1/dead/redrive", `{"client_id":"a"}`, bearer...)
		wantCount(t, w, 0)
		if account, err := store.Account(t.Context(), "b"); err != nil || account.Pending != 1 {
			t.Errorf("b: %+v, %v", account, err)
		}
		a := acted(t, request(h, "POST", "/v1/accounts/a/retry", fmt.Sprintf(`{"seq":%d,"reason":"why not"}`, ofA.Seq), bearer...))
		if !a.Changed || a.Account.State != "ready" || a.Account.Pending != 2 || a.Account.HeadSeq != ofA.Seq || a.Account.Attempts != 0 {
			t.Errorf("retry: %+v", a)
		}
		// Its own audit has that, and not what was done to b.
		var rows struct {
			Audit []struct {
				ID                int64
				Who, Verb, Reason string
				ClientID          string `json:"client_id"`
				Seq               int64
				Answer            map[string]any
			}
		}
		if err := json.Unmarshal(request(h, "GET", "/v1/audit?client_id=a&verb=retry", "", bearer...).Body.Bytes(), &rows); err != nil {
			t.Fatal(err)
		}
		if len(rows.Audit) != 1 || rows.Audit[0].ID != a.Audit || rows.Audit[0].Who != "op-a" || rows.Audit[0].Reason != "why not" || rows.Audit[0].Seq != ofA.Seq {
			t.Errorf("audit %+v", rows)
		}
		for _, c := range []struct {
			target, body string
			status       int
		}{
			{"/v1/accounts/none/resume", "", 404}, {"/v1/accounts/no%0Ane/pause", "", 400}, {"/v1/accounts/" + strings.Repeat("n", 257) + "/pause", "", 400}, {"/v1/accounts/none/skip", `{"seq":1}`, 404}, {"/v1/accounts/none/replay", "", 404}, {"/v1/dead/redrive", `{"seq":9999}`, 404},
			{"/v1/dead/redrive", fmt.Sprintf(`{"seq":%d}`, ofA.Seq), 409},
		} {
			if w := request(open, "POST", c.target, c.body); w.Code != c.status {
				t.Errorf("%s %s: %d %s, want %d", c.target, c.body, w.Code, w.Body, c.status)
			}
		}
	})
}

// An account is paused before its first event, which waits then.
func TestPauseBeforeTheFirstEvent(t *testing.T) {
	realStore(t, func(t *testing.T, store *sqlite.DB) {
		h := newAPI(t, Options{Store: store})
		for _, changed := range []bool{true, false} {
			a := acted(t, request(h, "POST", "/v1/accounts/new/pause", `{"reason":"not before Monday"}`))
			if a.Changed != changed || a.Account.State != "idle" || !a.Account.Paused || a.Account.Pending != 0 {
				t.Errorf("pause: %+v", a)
			}
		}
		request(h, "POST", "/v1/events", `{"client_id":"new","message_id":"1","type":"any","payload":1}`)
		if account, err := store.Account(t.Context(), "new"); err != nil || !account.Paused || account.Pending != 1 {
			t.Errorf("%+v, %v", account, err)
		}
		if a := acted(t, request(h, "POST", "/v1/accounts/new/resume", "")); !a.Changed || a.Account.Paused || a.Account.Pending != 1 {
			t.Errorf("resume: %+v", a)
		}
	})
}

// Bulks do what they count, in chunks, and once.
func TestBulksOnTheRealStore(t *testing.T) {
	realStore(t, func(t *testing.T, store *sqlite.DB) {
		h := newAPI(t, Options{Store: store})
		const accounts = 600 // more than a chunk
		batch := db.Batch{}
		for i := range accounts {
			for m := range 2 {
				batch.Events = append(batch.Events, db.Event{ClientID: fmt.Sprintf("c%03d", i), MessageID: fmt.Sprint(m), Type: "any", Payload: []byte(`1`)})
			}
		}
		if _, err := store.AppendBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		var holds sync.WaitGroup // together, so that they share fsyncs
		for i := range accounts {
			holds.Go(func() {
				head, _, err := store.PendingAfter(t.Context(), fmt.Sprintf("c%03d", i), 0, 1, 1<<20)
				if err != nil || len(head) != 1 {
					t.Error(head, err)
					return
				}
				if err := store.Hold(db.Hold{Event: head[0], Attempts: 1, Park: true, Error: "why"}); err != nil {
					t.Error(err)
				}
			})
		}
		holds.Wait()
		wantCount(t, request(h, "POST", "/v1/accounts/skip", `{"type":"message"}`), 0)
		wantCount(t, request(h, "POST", "/v1/accounts/skip", `{"all":true,"dry_run":true}`), accounts)
		wantCount(t, request(h, "POST", "/v1/accounts/skip", `{"type":"any"}`, "Idempotency-Key", `"once"`), accounts)
		wantCount(t, request(h, "POST", "/v1/accounts/skip", `{"type":"any"}`, "Idempotency-Key", `"once"`), accounts) // the first one's answer
		wantCount(t, request(h, "POST", "/v1/accounts/skip", `{"type":"any"}`), 0)
		var page struct {
			Accounts []struct {
				Pending int
				State   string
			}
		}
		if err := json.Unmarshal(request(h, "GET", "/v1/accounts?limit=1000", "").Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Accounts {
			if a.Pending != 1 || a.State != "ready" {
				t.Fatalf("account %+v", a)
			}
		}
		since := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		wantCount(t, request(h, "POST", "/v1/dead/redrive", `{"since":"`+since+`"}`), 0)
		wantCount(t, request(h, "POST", "/v1/dead/redrive", `{"client_id":"c007","dry_run":true}`), 1)
		wantCount(t, request(h, "POST", "/v1/dead/redrive", `{"all":true,"type":"any"}`), accounts)
		wantCount(t, request(h, "POST", "/v1/dead/redrive", `{"all":true}`), 0)
	})
}

func wantCount(t *testing.T, w *httptest.ResponseRecorder, want int64) {
	t.Helper()
	var a struct {
		Count int64
		More  bool
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || a.Count != want || a.More {
		t.Errorf("%d, %v: %s; want %d", w.Code, err, w.Body, want)
	}
}
