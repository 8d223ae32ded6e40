package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"inturn/db"
)

// What a verb's request becomes, and its answer.
func TestActs(t *testing.T) {
	long := strings.Repeat("r", maxReason)
	for _, c := range []struct {
		target, body string
		key          string
		want         db.Command
	}{
		{"/v1/accounts/a/pause", ``, "", db.Command{Verb: db.Pause, ClientID: "a"}},
		{"/v1/accounts/a%2Fb/pause", ` {} `, "", db.Command{Verb: db.Pause, ClientID: "a/b"}},
		{"/v1/accounts/a/resume", `{"reason":"mended"}`, "", db.Command{Verb: db.Resume, ClientID: "a", Reason: "mended"}},
		{"/v1/accounts/a/retry", `{"seq":17,"reason":"` + long + `"}`, "k 1", db.Command{Verb: db.Retry, ClientID: "a", Seq: 17, Reason: long, Key: "k 1"}},
		{"/v1/accounts/a/skip", `{"seq":17}`, "", db.Command{Verb: db.Skip, ClientID: "a", Seq: 17}},
		{"/v1/accounts/a/replay", ``, "", db.Command{Verb: db.Replay, ClientID: "a"}},
		{"/v1/accounts/a/replay", `{"from":3,"to":3}`, "", db.Command{Verb: db.Replay, ClientID: "a", Seq: 3, To: 3}},
		{"/v1/types/message/pause", `{"reason":"x"}`, "", db.Command{Verb: db.Pause, Type: "message", Reason: "x"}},
		{"/v1/types/message/resume", ``, "", db.Command{Verb: db.Resume, Type: "message"}},
		{"/v1/types/gone/resume", ``, "", db.Command{Verb: db.Resume, Type: "gone"}},
		{"/v1/pause", ``, "", db.Command{Verb: db.Pause}},
		{"/v1/resume", ``, "", db.Command{Verb: db.Resume}},
		{"/v1/dead/redrive", `{"seq":4}`, "", db.Command{Verb: db.Redrive, Seq: 4}},
		{"/v1/dead/redrive", `{"seq":4,"run":2,"client_id":"a","reason":"why"}`, "k", db.Command{Verb: db.Redrive, ClientID: "a", Seq: 4, Run: 2, Reason: "why", Key: "k"}},
	} {
		store := &fakeStore{}
		h := newAPI(t, Options{Store: store})
		var headers []string
		if c.key != "" {
			headers = []string{"Idempotency-Key", `"` + c.key + `"`}
		}
		w := request(h, "POST", c.target, c.body, headers...)
		c.want.Who = "anyone"
		if w.Code != 200 || len(store.acts) != 1 || store.acts[0] != c.want {
			t.Errorf("%s %.100s: %d %s\n did %+v\nwant %+v", c.target, c.body, w.Code, w.Body, store.acts, c.want)
		}
	}

	store := &fakeStore{}
	h := newAPI(t, Options{Store: store, AccountState: func(string) string { return "running" }})
	postAs(h, "a", "1")
	wantJSON(t, request(h, "POST", "/v1/accounts/a/skip", `{"seq":1}`), 200, `{"verb":"skip","changed":true,"duplicate":false,"audit":1,"at":"2026-11-21T12:00:00.123456Z",`+
		`"seq":1,"account":{"client_id":"a","state":"running","paused":false,"replaying":false,"pending":1,"attempts":0,"head_seq":1}}`)
	store.acted = db.CommandResult{ID: 9, At: fakeTime, Again: true, Seq: 2, To: 8, Events: 5, Run: 3}
	wantJSON(t, request(h, "POST", "/v1/types/message/pause", ""), 200, `{"verb":"pause","changed":false,"duplicate":true,"audit":9,"at":"2026-11-21T12:00:00.123456Z",`+
		`"seq":2,"run":3,"to":8,"events":5,"type":"message"}`)
}

func TestErase(t *testing.T) {
	log, lines := logLines()
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store, Log: log})
	wantJSON(t, request(h, "POST", "/v1/accounts/carla/erase", `{"reason":"she asked"}`), 200,
		`{"verb":"erase","client":"`+db.EraseMark("carla")+`","events":3,"pending":1,"rows":{"dialogs":1,"messages":2},"in_wal":false}`)
	if want := (db.Command{Verb: db.Erasing, ClientID: "carla", Who: "anyone", Reason: "she asked"}); len(store.acts) != 1 || store.acts[0] != want {
		t.Errorf("did %+v", store.acts)
	}
	// The log is not a place where her name stays.
	for _, line := range lines() {
		if text := fmt.Sprint(line); strings.Contains(text, "carla") || strings.Contains(text, "she asked") {
			t.Errorf("logged %s", text)
		}
	}
	store.err = db.ErrErasing
	wantProblem(t, request(h, "POST", "/v1/accounts/carla/erase", ""), 429, "account-full")
}

// What is refused before anything is asked for.
func TestActsThatAreRefused(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	for _, c := range []struct{ target, body, pointer, says string }{
		{"/v1/accounts/a/skip", ``, "#/seq", "missing"},
		{"/v1/accounts/a/skip", `{}`, "#/seq", "head_seq"},
		{"/v1/accounts/a/retry", `{"seq":0}`, "#/seq", "missing"},
		{"/v1/accounts/a/retry", `{"seq":-1}`, "#/seq", "1 or more"},
		{"/v1/accounts/a/retry", `{"seq":"17"}`, "#/seq", "a whole number"},
		{"/v1/accounts/a/retry", `{"seq":1.5}`, "#/seq", "a whole number"},
		{"/v1/accounts/a/retry", `{"seq":99999999999999999999}`, "#/seq", "a whole number"},
		{"/v1/accounts/a/skip", `{"Seq":1}`, "#/Seq", "not a field"},
		{"/v1/accounts/a/skip", `{"seq":1,"why":"x"}`, "#/why", "not a field"},
		{"/v1/accounts/a/skip", `{"seq":1,"seq":2}`, "#/seq", "twice"},
		{"/v1/accounts/a/skip", `{"seq":1} x`, "#", "valid JSON"},
		{"/v1/accounts/a/skip", `{"seq":1`, "#", "too early"},
		{"/v1/accounts/a/skip", `[1]`, "#", "must be an object, not an array"},
		{"/v1/accounts/a/skip", `null`, "#", "must be an object, not null"},
		{"/v1/accounts/a/pause", `null`, "#", "must be an object, not null"},
		{"/v1/accounts/a/pause", `"why"`, "#", "must be an object, not a string"},
		{"/v1/accounts/a/skip", `{"seq":1,"reason":7}`, "#/reason", "a string"},
		{"/v1/accounts/a/skip", `{"seq":1,"reason":"` + strings.Repeat("r", maxReason+1) + `"}`, "#/reason", "4096 bytes"},
		{"/v1/accounts/a/pause", `{"seq":1}`, "#/seq", "not a field"},
		{"/v1/accounts/a/replay", `{"from":-1}`, "#/from", "1 or more"},
		{"/v1/accounts/a/replay", `{"to":-1}`, "#/to", "1 or more"},
		{"/v1/accounts/a/replay", `{"from":4,"to":3}`, "#/to", "less"},
		{"/v1/pause", `{"type":"message"}`, "#/type", "not a field"},
		{"/v1/accounts/a/erase", `{"all":true}`, "#/all", "not a field"},
		{"/v1/accounts/a/erase", `{"reason":"` + strings.Repeat("r", maxReason+1) + `"}`, "#/reason", "4096 bytes"},
		{"/v1/accounts/skip", ``, "#", "selects nothing"},
		{"/v1/accounts/retry", `{"reason":"x","dry_run":true}`, "#", "selects nothing"},
		{"/v1/accounts/skip", `{"all":"yes"}`, "#/all", "true or false"},
		{"/v1/accounts/skip", `{"all":true,"since":"2026-01-31T12:00:00Z"}`, "#/since", "not a field"},
		{"/v1/accounts/skip", `{"all":true,"dry_run":1}`, "#/dry_run", "true or false"},
		{"/v1/dead/redrive", ``, "#", "selects nothing"},
		{"/v1/dead/redrive", `{"run":1}`, "#/run", "belongs to a seq"},
		{"/v1/dead/redrive", `{"all":true,"run":1}`, "#/run", "belongs to a seq"},
		{"/v1/dead/redrive", `{"seq":1,"all":true}`, "#/seq", "names one"},
		{"/v1/dead/redrive", `{"seq":1,"type":"message"}`, "#/seq", "names one"},
		{"/v1/dead/redrive", `{"seq":1,"dry_run":true}`, "#/seq", "names one"},
		{"/v1/dead/redrive", `{"since":"yesterday"}`, "#/since", "RFC 3339"},
		{"/v1/dead/redrive", `{"seq":-4}`, "#/seq", "1 or more"},
	} {
		p := wantProblem(t, request(h, "POST", c.target, c.body), 400, "invalid-request")
		if len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer || !strings.Contains(p.Errors[0].Detail, c.says) {
			t.Errorf("%s %.100s: %+v, want %s %q", c.target, c.body, p, c.pointer, c.says)
		}
	}
	wantProblem(t, request(h, "POST", "/v1/types/none/pause", ``), 404, "not-found")
	wantProblem(t, request(h, "POST", "/v1/accounts/a/skip", `{"seq":1}`, "Content-Type", "text/plain"), 415, "unsupported-media-type")
	wantProblem(t, request(h, "POST", "/v1/accounts/a/skip", `{"seq":1}`, "Content-Type", "application/x-ndjson"), 415, "unsupported-media-type")
	wantProblem(t, request(h, "POST", "/v1/accounts/a/skip", strings.Repeat(" ", maxActBody+1)), 413, "too-large")
	for _, key := range []string{`k`, `""`, `"` + strings.Repeat("k", maxKey+1) + `"`} {
		wantProblem(t, request(h, "POST", "/v1/accounts/a/skip", `{"seq":1}`, "Idempotency-Key", key), 400, "invalid-request")
		wantProblem(t, request(h, "POST", "/v1/accounts/skip", `{"all":true}`, "Idempotency-Key", key), 400, "invalid-request")
		wantProblem(t, request(h, "POST", "/v1/accounts/a/erase", "", "Idempotency-Key", key), 400, "invalid-request")
	}
	wantProblem(t, request(h, "POST", "/v1/accounts/a/erode", ``), 404, "not-found")
	wantProblem(t, request(h, "GET", "/v1/accounts/a/skip", ``), 405, "method-not-allowed")
	if len(store.acts)+len(store.bulks) != 0 {
		t.Errorf("did %+v %+v", store.acts, store.bulks)
	}
}

// What the storage says, in the client's words.
func TestActErrors(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	for _, c := range []struct {
		err    error
		status int
		name   string
		seq    int64
	}{
		{&db.HeadMovedError{Seq: 18}, 409, "head-moved", 18},
		{fmt.Errorf("skip: %w", &db.HeadMovedError{}), 409, "head-moved", 0},
		{db.ErrNotDead, 409, "not-dead", 17}, {db.ErrStillPending, 409, "still-pending", 17},
		{db.ErrGone, 410, "gone", 17}, {db.ErrTooLate, 409, "too-late", 17}, {db.ErrNothingToReplay, 409, "nothing-to-replay", 17}, {db.ErrReplaying, 409, "replaying", 17},
		{db.ErrKeyReused, 422, "key-reused", 17}, {db.ErrBadCommand, 400, "invalid-request", 17}, {db.ErrNotFound, 404, "not-found", 17},
		{db.ErrStorageFull, 503, "storage-full", 17}, {db.ErrOutcomeUnknown, 503, "outcome-unknown", 17}, {db.ErrClosed, 503, "shutting-down", 17},
		{db.ErrFenced, 503, "unavailable", 17}, {context.DeadlineExceeded, 503, "outcome-unknown", 17}, {errors.New("secret cause"), 500, "internal", 17},
	} {
		store.err = c.err
		for _, target := range []string{"/v1/accounts/a/skip", "/v1/accounts/skip"} {
			body := `{"seq":17}`
			if target == "/v1/accounts/skip" {
				body = `{"all":true}`
			}
			w := request(h, "POST", target, body)
			if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "resend the same id") {
				t.Errorf("%v: %s", c.err, w.Body)
			}
			if p := wantProblem(t, w, c.status, c.name); c.name == "head-moved" && p.Seq != c.seq {
				t.Errorf("%v: seq %d", c.err, p.Seq)
			}
		}
	}
}

// Every endpoint of operators asks for its scope, and keeps a token to its client_ids.
func TestActsNeedOperate(t *testing.T) {
	entry := func(name, scopes, more string) string {
		return fmt.Sprintf(`{"name":%q,"hash":%q,"scopes":[%s]%s}`, name, HashToken("secret-"+name), scopes, more)
	}
	tokens, err := LoadTokens(tokenFile(t, `{"tokens":[`+strings.Join([]string{
		entry("operate", `"operate"`, ""), entry("others", `"ingest","read"`, ""), entry("read", `"read"`, ""),
		entry("op-a", `"operate","read"`, `,"client_ids":["a"]`),
	}, ",")+`]}`), "")
	if err != nil {
		t.Fatal(err)
	}
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store, Tokens: tokens})
	for _, c := range []struct {
		method, target, body         string
		none, operate, others, bound int
	}{
		{"POST", "/v1/accounts/a/pause", "", 401, 200, 403, 200}, {"POST", "/v1/accounts/b/pause", "", 401, 200, 403, 403},
		{"POST", "/v1/accounts/a/resume", "", 401, 200, 403, 200}, {"POST", "/v1/accounts/b/resume", "", 401, 200, 403, 403},
		{"POST", "/v1/accounts/a/retry", `{"seq":1}`, 401, 200, 403, 200}, {"POST", "/v1/accounts/b/retry", `{"seq":1}`, 401, 200, 403, 403},
		{"POST", "/v1/accounts/a/skip", `{"seq":1}`, 401, 200, 403, 200}, {"POST", "/v1/accounts/b/skip", `{"seq":1}`, 401, 200, 403, 403},
		{"POST", "/v1/accounts/a/replay", "", 401, 200, 403, 200}, {"POST", "/v1/accounts/b/replay", "", 401, 200, 403, 403},
		{"POST", "/v1/accounts/a/erase", "", 401, 200, 403, 200}, {"POST", "/v1/accounts/b/erase", "", 401, 200, 403, 403},
		{"POST", "/v1/accounts/retry", `{"all":true}`, 401, 200, 403, 403}, {"POST", "/v1/accounts/skip", `{"all":true}`, 401, 200, 403, 403},
		{"POST", "/v1/types/message/pause", "", 401, 200, 403, 403}, {"POST", "/v1/types/message/resume", "", 401, 200, 403, 403},
		{"POST", "/v1/pause", "", 401, 200, 403, 403}, {"POST", "/v1/resume", "", 401, 200, 403, 403},
		{"POST", "/v1/dead/redrive", `{"seq":1}`, 401, 200, 403, 403}, {"POST", "/v1/dead/redrive", `{"seq":1,"client_id":"b"}`, 401, 200, 403, 403},
		{"POST", "/v1/dead/redrive", `{"seq":1,"client_id":"a"}`, 401, 200, 403, 200}, {"POST", "/v1/dead/redrive", `{"all":true}`, 401, 200, 403, 403},
		{"POST", "/v1/dead/redrive", `{"client_id":"a"}`, 401, 200, 403, 200}, {"POST", "/v1/dead/redrive", `{"client_id":"b"}`, 401, 200, 403, 403},
		{"DELETE", "/v1/events/a/1", "", 401, 404, 403, 404}, {"DELETE", "/v1/events/b/1", "", 401, 404, 403, 403},
		{"GET", "/v1/audit", "", 401, 200, 403, 403}, {"GET", "/v1/audit?client_id=a", "", 401, 200, 403, 200}, {"GET", "/v1/audit?client_id=b", "", 401, 200, 403, 403},
		{"GET", "/v1/dead", "", 401, 403, 200, 403}, {"GET", "/v1/dead?client_id=a", "", 401, 403, 200, 200}, {"GET", "/v1/dead?client_id=b", "", 401, 403, 200, 403},
		{"GET", "/v1/types", "", 401, 403, 200, 403}, {"GET", "/v1/status", "", 401, 403, 404, 403},
		{"GET", "/v1/events/a/1/runs", "", 401, 403, 404, 404}, {"GET", "/v1/events/b/1/runs", "", 401, 403, 404, 403},
	} {
		for token, want := range map[string]int{"": c.none, "operate": c.operate, "others": c.others, "op-a": c.bound} {
			var headers []string
			if token != "" {
				headers = []string{"Authorization", "Bearer secret-" + token}
			}
			before := len(store.acts) + len(store.bulks)
			w := request(h, c.method, c.target, c.body, headers...)
			if w.Code != want {
				t.Errorf("%s %s %s with %q: %d, want %d", c.method, c.target, c.body, token, w.Code, want)
			}
			if did := len(store.acts)+len(store.bulks) > before; did != (w.Code == 200 && c.method == "POST") {
				t.Errorf("%s %s %s with %q: %d, and the storage was asked: %v", c.method, c.target, c.body, token, w.Code, did)
			}
		}
	}
	who := map[string]bool{}
	for _, act := range store.acts {
		who[act.Who] = true
	}
	if len(who) != 2 || !who["operate"] || !who["op-a"] {
		t.Errorf("who acted: %v", who)
	}
}

// One answer to a bulk takes no longer than it may; the key goes on.
func TestBulks(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	since := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		target, body string
		want         db.BulkCommand
	}{
		{"/v1/accounts/retry", `{"all":true,"reason":"r"}`, db.BulkCommand{Verb: db.Retry, Reason: "r"}},
		{"/v1/accounts/skip", `{"type":"message"}`, db.BulkCommand{Verb: db.Skip, Type: "message"}},
		{"/v1/accounts/skip", `{"type":"message","dry_run":true}`, db.BulkCommand{Verb: db.Skip, Type: "message", DryRun: true}},
		{"/v1/dead/redrive", `{"all":true}`, db.BulkCommand{Verb: db.Redrive}},
		{"/v1/dead/redrive", `{"type":"message","since":"2026-01-31T13:00:00+01:00","client_id":"a","dry_run":true}`,
			db.BulkCommand{Verb: db.Redrive, Type: "message", ClientID: "a", Since: since, DryRun: true}},
	} {
		store.bulks = nil
		w := request(h, "POST", c.target, c.body, "Idempotency-Key", `"k"`)
		c.want.Who, c.want.Key = "anyone", "k"
		if len(store.bulks) != 1 {
			t.Errorf("%s %s: %d %s", c.target, c.body, w.Code, w.Body)
			continue
		}
		got := store.bulks[0]
		got.Since = got.Since.UTC()
		if got != c.want {
			t.Errorf("%s %s:\n did %+v\nwant %+v", c.target, c.body, got, c.want)
		}
		wantJSON(t, w, 200, fmt.Sprintf(`{"verb":%q,"dry_run":%v,"duplicate":false,"count":3,"more":false,"key":"k","audit":1}`, c.want.Verb, c.want.DryRun))
	}

	// Without a key one is made, so that the rest can be asked for.
	var keys []string
	for range 2 {
		w := request(h, "POST", "/v1/accounts/retry", `{"all":true}`)
		keys = append(keys, store.bulks[len(store.bulks)-1].Key)
		if !strings.Contains(w.Body.String(), `"key":"`+keys[len(keys)-1]+`"`) {
			t.Errorf("answered %s", w.Body)
		}
	}
	if keys[0] == keys[1] || len(keys[0]) < 20 {
		t.Errorf("keys %q", keys)
	}
	// The end of its time is no error; that of its client is.
	store.bulked = func(context.Context, db.BulkCommand) (db.BulkResult, error) {
		return db.BulkResult{ID: 2, Count: 1000}, context.DeadlineExceeded
	}
	wantProblem(t, request(h, "POST", "/v1/accounts/retry", `{"all":true}`), 503, "outcome-unknown")
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		store.bulked = func(ctx context.Context, b db.BulkCommand) (db.BulkResult, error) {
			<-ctx.Done()
			return db.BulkResult{ID: 2, Count: 1000}, ctx.Err()
		}
		h, begin := newAPI(t, Options{Store: store}), time.Now()
		wantJSON(t, request(h, "POST", "/v1/accounts/retry", `{"all":true}`, "Idempotency-Key", `"k"`), 200,
			`{"verb":"retry","dry_run":false,"duplicate":false,"count":1000,"more":true,"key":"k","audit":2}`)
		if took := time.Since(begin); took != bulkTime || took > writeTimeout/2 {
			t.Errorf("took %v", took)
		}
	})
}

func TestDeadAndRuns(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	for i := range 40 {
		client := string(rune('a' + i%2))
		if status, _ := postAs(h, client, fmt.Sprint(i)); status != 202 {
			t.Fatal(status)
		}
		store.settle(int64(i+1), db.Result{Status: db.Dead, Error: "no"})
	}
	seqs := func(target string) (all []int64) {
		t.Helper()
		for after := ""; ; {
			w := request(h, "GET", target+after, "")
			var p struct {
				Dead []struct {
					Seq, Run int64
					State    string
					Error    string
				}
				Next int64
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d, %v: %s", target, w.Code, err, w.Body)
			}
			for _, e := range p.Dead {
				if e.State != "dead" || e.Error != "no" || e.Run != 1 {
					t.Errorf("%s: %+v", target, e)
				}
				all = append(all, e.Seq)
			}
			if p.Next == 0 {
				return all
			}
			after = fmt.Sprintf("&after=%d", p.Next)
		}
	}
	if got := seqs("/v1/dead?limit=7"); len(got) != 40 || !slices.IsSorted(got) {
		t.Errorf("all: %v", got)
	}
	if got := seqs("/v1/dead?limit=100&client_id=b&type=message&after=10"); len(got) != 15 || got[0] != 12 {
		t.Errorf("of b: %v", got)
	}
	if got := seqs("/v1/dead?limit=100&since=" + fakeTime.Add(time.Hour).Format(time.RFC3339)); len(got) != 0 {
		t.Errorf("since: %v", got)
	}
	for _, query := range []string{"client_id=", "type=", "since=yesterday", "since=", "after=-1", "after=x", "limit=0", "limit=1001", "state=dead", "type=a&type=b", "a=%zz"} {
		wantProblem(t, request(h, "GET", "/v1/dead?"+query, ""), 400, "invalid-request")
	}

	wantJSON(t, request(h, "GET", "/v1/events/a/0/runs", ""), 200, `{"seq":1,"runs":[]}`)
	store.runs = []db.Result{{Status: db.Dead, Run: 1, Attempts: 2, StartedAt: fakeTime, FinishedAt: fakeTime, Error: "no"},
		{Status: db.Done, Run: 2, Attempts: 1, StartedAt: fakeTime, FinishedAt: fakeTime, Output: []byte(`{"x":1}`)}}
	at := fakeTime.Format("2006-01-02T15:04:05.000000Z")
	wantJSON(t, request(h, "GET", "/v1/events/a/0/runs", ""), 200, `{"seq":1,"runs":[{"state":"dead","run":1,"attempts":2,"started_at":"`+at+`","finished_at":"`+at+`","result":null,"error":"no"},`+
		`{"state":"done","run":2,"attempts":1,"started_at":"`+at+`","finished_at":"`+at+`","result":{"x":1}}]}`)
	wantProblem(t, request(h, "GET", "/v1/events/a/none/runs", ""), 404, "not-found")
}

func TestAuditAndTypes(t *testing.T) {
	store := &fakeStore{}
	h := newAPI(t, Options{Store: store})
	wantJSON(t, request(h, "GET", "/v1/audit", ""), 200, `{"audit":[]}`)
	store.rows = []db.AuditEntry{
		{ID: 9, At: fakeTime, Command: db.Command{Verb: db.Skip, ClientID: "a", Seq: 17, Who: "boss", Reason: "it is \"bad\"", Key: "k"}, Answer: []byte(`{"changed":true}`)},
		{ID: 8, At: fakeTime, Bulk: 8, Command: db.Command{Verb: db.Pause, Type: "message", Who: "boss"}},
	}
	at := fakeTime.Format("2006-01-02T15:04:05.000000Z")
	skip := `{"id":9,"at":"` + at + `","who":"boss","verb":"skip","client_id":"a","reason":"it is \"bad\"","seq":17,"answer":{"changed":true}}`
	wantJSON(t, request(h, "GET", "/v1/audit?limit=3", ""), 200, `{"audit":[`+skip+`,{"id":8,"at":"`+at+`","who":"boss","verb":"pause","type":"message","reason":"","bulk":8,"answer":{}}]}`)
	wantJSON(t, request(h, "GET", "/v1/audit?limit=1&client_id=a&verb=skip&before=12", ""), 200, `{"audit":[`+skip+`],"next":9}`)
	if got, want := store.audit[len(store.audit)-1], (db.AuditFilter{ClientID: "a", Verb: db.Skip, Before: 12, Limit: 1}); got != want {
		t.Errorf("asked for %+v", got)
	}
	for _, query := range []string{"client_id=", "verb=erode", "before=x", "limit=0", "after=1", "verb=skip&verb=skip"} {
		wantProblem(t, request(h, "GET", "/v1/audit?"+query, ""), 400, "invalid-request")
	}

	wantJSON(t, request(h, "GET", "/v1/types", ""), 200, `{"paused":false,"types":[{"type":"any","paused":false,"payload":{}},{"type":"message","paused":false,"payload":{"properties":{"phone":{"type":"string"},"text":{"type":"string"}},"type":"object"}},{"type":"panics","paused":false,"payload":{"type":"object"}}]}`)
	store.pauses = []db.PausedType{{Type: "", Since: fakeTime, Who: "boss", Reason: "all"}, {Type: "gone", Since: fakeTime, Who: "x"}, {Type: "message", Since: fakeTime, Who: "y"}}
	wantJSON(t, request(h, "GET", "/v1/types", ""), 200, `{"paused":true,"since":"`+at+`","who":"boss","reason":"all","types":[{"type":"any","paused":false,"payload":{}},`+
		`{"type":"message","paused":true,"since":"`+at+`","who":"y","reason":"","payload":{"properties":{"phone":{"type":"string"},"text":{"type":"string"}},"type":"object"}},{"type":"panics","paused":false,"payload":{"type":"object"}},{"type":"gone","paused":true,"since":"`+at+`","who":"x","reason":"","function":false}]}`)
	h = newAPI(t, Options{Store: store, MissingTypes: func() map[string]int { return map[string]int{"gone": 1, "greet": 2} }})
	store.pauses = store.pauses[1:2]
	wantJSON(t, request(h, "GET", "/v1/types", ""), 200, `{"paused":false,"types":[{"type":"any","paused":false,"payload":{}},{"type":"message","paused":false,"payload":{"properties":{"phone":{"type":"string"},"text":{"type":"string"}},"type":"object"}},{"type":"panics","paused":false,"payload":{"type":"object"}},`+
		`{"type":"gone","paused":true,"since":"`+at+`","who":"x","reason":"","function":false,"waiting":1},{"type":"greet","paused":false,"function":false,"waiting":2}]}`)
}
