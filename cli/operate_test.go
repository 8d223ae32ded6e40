package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// asked is what a command asks the server, and what it is told.
type asked struct {
	want   string // method, path, body
	status int    // 0: 200
	answer string
}

// script is a server that is asked these things in this order, and no others.
func script(t *testing.T, steps ...asked) Client {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		got := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
		if err != nil || len(steps) == 0 || steps[0].want != got {
			t.Errorf("asked for %s: %v; want %.1v", got, err, steps)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if r.Header.Get("Authorization") != "Bearer secret" || r.Method != "GET" && (r.Header.Get("Content-Type") != "application/json" || (len(r.Header.Get("Idempotency-Key")) < 3) != strings.HasSuffix(r.URL.Path, "/erase")) {
			t.Errorf("header %v", r.Header)
		}
		step := steps[0]
		steps = steps[1:]
		if step.status >= 400 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(max(step.status, 200))
		_, _ = io.WriteString(w, step.answer)
	}))
	t.Cleanup(func() {
		server.Close()
		if len(steps) > 0 {
			t.Errorf("never asked for %+v", steps)
		}
	})
	return Client{URL: server.URL + "/", Token: "secret"}
}

const (
	parkedAlice = `{"client_id":"alice","state":"parked","paused":false,"replaying":false,"pending":2,"attempts":20,"head_seq":17,"last_error":"the bank\u001b[2J does not answer"}`
	readyBob    = `{"client_id":"bob b","state":"ready","paused":true,"replaying":true,"pending":1,"attempts":0,"head_seq":9}`
	deadOne     = `{"client_id":"alice","message_id":"m/1","seq":17,"state":"dead","type":"charge","payload":{"cents":450},"request_id":"R","received_at":"2026-01-31T12:00:00.000000Z","run":1,"attempts":3,"started_at":"2026-01-31T12:00:01.000000Z","finished_at":"2026-01-31T12:00:02.000000Z","result":null,"error":"no"}`
)

func did(verb string, changed bool, more string) string {
	return fmt.Sprintf(`{"verb":%q,"changed":%v,"duplicate":false,"audit":5,"at":"2026-01-31T12:00:00.000000Z"%s}`, verb, changed, more)
}

// What each command asks, and what it prints.
func TestOperatorCommands(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  string
		steps []asked
		out   string
	}{
		{"list", "accounts list --state parked --no-paused --limit 2", []asked{
			{"GET /v1/accounts?after=&limit=2&paused=false&state=parked", 0, `{"accounts":[` + parkedAlice + `],"next":"alice"}`},
			{"GET /v1/accounts?after=alice&limit=1&paused=false&state=parked", 0, `{"accounts":[],"next":"am"}`},
			{"GET /v1/accounts?after=am&limit=1&paused=false&state=parked", 0, `{"accounts":[` + readyBob + `],"next":"bob b"}`},
		}, "client_id  state                     pending  head_seq  attempts  next_at  last_error\n" +
			"alice      parked                    2        17        20        -        the bank\\u001b[2J does not answer\n" +
			"bob b      ready, paused, replaying  1        9         0         -        -\n" +
			"! there may be more: go on with --after 'bob b'\n"},
		{"list nothing", "accounts list --paused", []asked{{"GET /v1/accounts?after=&limit=100&paused=true", 0, `{"accounts":[]}`}}, "! no such accounts\n"},
		{"list sorted", "accounts list --sort pending --json", []asked{{"GET /v1/accounts?limit=100&sort=pending", 0, `{"accounts":[]}`}}, `{"accounts":[]}` + "\n"},
		{"list json", "accounts list --json --after x", []asked{{"GET /v1/accounts?after=x&limit=100", 0, `{"accounts":[` + readyBob + `]}`}},
			`{"accounts":[` + readyBob + `]}` + "\n"},
		{"list nothing json", "accounts list --json", []asked{{"GET /v1/accounts?after=&limit=100", 0, `{"accounts":[]}`}}, `{"accounts":[]}` + "\n"},
		{"show", "accounts show a/b", []asked{{"GET /v1/accounts/a%2Fb", 0, parkedAlice}},
			"client_id   alice\nstate       parked\npending     2\nhead_seq    17\nattempts    20\nlast_error  the bank\\u001b[2J does not answer\n"},
		{"show json", "accounts show alice --json", []asked{{"GET /v1/accounts/alice", 0, parkedAlice}}, parkedAlice + "\n"},
		{"pause", "accounts pause alice --reason why", []asked{{`POST /v1/accounts/alice/pause {"reason":"why"}`, 0, did("pause", true, `,"account":`+parkedAlice)}},
			"pause alice: done (audit 5)\naccount alice: parked, 2 pending\n"},
		{"resume again", "accounts resume alice", []asked{{`POST /v1/accounts/alice/resume {}`, 0, did("resume", false, "")}},
			"resume alice: done already, nothing changed (audit 5)\n"},
		{"skip looks the head up", "accounts skip alice --reason bad", []asked{{"GET /v1/accounts/alice", 0, parkedAlice},
			{`POST /v1/accounts/alice/skip {"seq":17,"reason":"bad"}`, 0, did("skip", true, `,"seq":17,"account":`+parkedAlice)}},
			"skip alice seq 17: done (audit 5)\naccount alice: parked, 2 pending\n"},
		{"retry that seq", "accounts retry alice --seq 4 --json", []asked{{`POST /v1/accounts/alice/retry {"seq":4}`, 0, did("retry", true, `,"seq":4`)}}, strings.Replace(did("retry", true, `,"seq":4`), ".000000Z", "Z", 1) + "\n"},
		{"the head has moved", "accounts skip alice --seq 4", []asked{{`POST /v1/accounts/alice/skip {"seq":4}`, 409, `{"type":"urn:inturn:problem:head-moved","title":"T","detail":"D","seq":18}`}},
			"inturn: accounts skip: 409 Conflict: T: D\nhint: look at it first: `inturn accounts show alice`; then --seq 18\n"},
		{"nothing to skip", "accounts skip alice", []asked{{"GET /v1/accounts/alice", 0, `{"client_id":"alice","state":"idle","paused":false,"replaying":false,"pending":0,"attempts":0}`}},
			"inturn: accounts skip: nothing of alice is pending\nhint: events that were set aside are listed by `inturn dead list`\n"},
		{"cancel", "cancel alice m/1 --reason spam", []asked{{`DELETE /v1/events/alice/m%2F1 {"reason":"spam"}`, 0, did("cancel", true, `,"seq":4,"run":1,"state":"dead","account":`+parkedAlice)}},
			"cancel alice m/1: done (audit 5)\naccount alice: parked, 2 pending\n"},
		{"cancel json", "cancel alice 1 --json", []asked{{`DELETE /v1/events/alice/1 {}`, 0, did("cancel", false, `,"seq":4,"run":1,"state":"dead"`)}}, strings.Replace(did("cancel", false, `,"seq":4,"run":1,"state":"dead"`), ".000000Z", "Z", 1) + "\n"},
		{"cancel too late", "cancel alice 1", []asked{{`DELETE /v1/events/alice/1 {}`, 409, `{"type":"urn:inturn:problem:too-late","title":"T","detail":"D"}`}},
			"inturn: cancel: 409 Conflict: T: D\nhint: what became of it: `inturn events show alice 1`\n"},
		{"replay", "accounts replay alice --from 3", []asked{{`POST /v1/accounts/alice/replay {"from":3}`, 0, did("replay", true, `,"seq":3,"to":9,"events":7`)}},
			"replay alice seq 3 to 9, 7 events: done (audit 5)\n"},
		{"erase", "accounts erase alice --yes --reason asked", []asked{{`POST /v1/accounts/alice/erase {"reason":"asked"}`, 0, `{"verb":"erase","client":"sha256:ab","events":3,"pending":1,"rows":{"messages":2,"dialogs":1},"in_wal":false}`}},
			"events            3\nof them pending   1\nrows of dialogs   1\nrows of messages  2\nin the audit as   sha256:ab\n"},
		{"retry all", "accounts retry --all --type charge --dry-run", []asked{{`POST /v1/accounts/retry {"all":true,"type":"charge","dry_run":true}`, 0, `{"verb":"retry","dry_run":true,"duplicate":false,"count":3,"more":false}`}},
			"would retry: 3 accounts\n"},
		{"dead list", "dead list --type charge --client-id alice --since 2026-01-31T13:00:00+01:00 --limit 1", []asked{
			{"GET /v1/dead?after=0&client_id=alice&limit=1&since=2026-01-31T12%3A00%3A00Z&type=charge", 0, `{"dead":[` + deadOne + `],"next":17}`}},
			"seq  run  client_id  message_id  type    attempts  finished_at           error\n17   1    alice      m/1         charge  3         2026-01-31T12:00:02Z  no\n! there may be more: go on with --after 17\n"},
		{"dead list json", "dead list --json", []asked{{"GET /v1/dead?after=0&limit=100", 0, `{"dead":[]}`}}, `{"dead":[]}` + "\n"},
		{"dead show", "dead show 17", []asked{{"GET /v1/dead?after=16&limit=1", 0, `{"dead":[` + deadOne + `],"next":17}`},
			{"GET /v1/events/alice/m%2F1/runs", 0, `{"seq":17,"runs":[{"state":"dead","run":1,"attempts":2,"started_at":"2026-01-30T12:00:00.000000Z","finished_at":"2026-01-30T12:00:00.000000Z","result":null,"error":"before"}]}`}},
			"client_id    alice\nmessage_id   m/1\nseq          17\nstate        dead\ntype         charge\npayload      {\"cents\":450}\nrequest_id   R\nreceived_at  2026-01-31T12:00:00Z\n" +
				"run          1\nattempts     3\nstarted_at   2026-01-31T12:00:01Z\nfinished_at  2026-01-31T12:00:02Z\nerror        no\nrun 1        2026-01-30T12:00:00Z dead: before\n"},
		{"dead show of another", "dead show 16", []asked{{"GET /v1/dead?after=15&limit=1", 0, `{"dead":[` + deadOne + `]}`}},
			"inturn: dead show: seq 16 is not a dead event\nhint: `inturn dead list` lists them\n"},
		{"redrive", "dead redrive 17 --reason mended", []asked{{"GET /v1/dead?after=16&limit=1", 0, `{"dead":[` + deadOne + `]}`},
			{`POST /v1/dead/redrive {"seq":17,"run":1,"reason":"mended"}`, 0, did("redrive", true, `,"seq":17,"run":2,"account":`+readyBob)}},
			"redrive seq 17, run 2: done (audit 5)\naccount bob b: ready, paused, replaying, 1 pending\n"},
		{"redrive many", "dead redrive --all --client-id alice --resume k", []asked{
			{`POST /v1/dead/redrive {"all":true,"client_id":"alice"}`, 0, `{"verb":"redrive","dry_run":false,"duplicate":false,"count":500,"more":true,"key":"k","audit":2}`},
			{`POST /v1/dead/redrive {"all":true,"client_id":"alice"}`, 0, `{"verb":"redrive","dry_run":false,"duplicate":false,"count":612,"more":false,"key":"k","audit":2}`}},
			"redrive: 612 events\n! events 500"},
		{"types", "types", []asked{{"GET /v1/types", 0, `{"paused":false,"types":[{"type":"charge","paused":true,"since":"2026-01-31T12:00:00.000000Z","who":"boss","reason":"bank","payload":{}},{"type":"work","paused":false,"payload":{"type":"object","required":["b"],"properties":{"b":{"type":"array","items":{"type":"string"}},"a":{"type":"object"},"c":{"type":["null","string"]}}}}]}`}},
			"type          paused  since                 who   reason  payload\n(everything)  no      -                     -     -       -\ncharge        yes     2026-01-31T12:00:00Z  boss  bank    any JSON\nwork          no      -                     -     -       {a?: object, b: [string], c?: any JSON}\n"},
		{"types without a function", "types", []asked{{"GET /v1/types", 0, `{"paused":false,"types":[{"type":"charge","paused":true,"since":"2026-01-31T12:00:00.000000Z","who":"boss","reason":"bank","function":false},{"type":"greet","paused":false,"function":false,"waiting":2}]}`}},
			"type          paused  since                 who   reason                              payload\n(everything)  no      -                     -     -                                   -\ncharge        yes     2026-01-31T12:00:00Z  boss  bank; no function: 0 accounts wait  -\ngreet         no      -                     -     no function: 2 accounts wait        -\n"},
		{"types json", "types --json", []asked{{"GET /v1/types", 0, `{"paused":false,"types":[{"type":"work","paused":false,"payload":{"x":1}}]}`}}, `{"paused":false,"types":[{"type":"work","paused":false,"payload":{"x":1}}]}` + "\n"},
		{"pause a type", "pause a/b --reason r", []asked{{`POST /v1/types/a%2Fb/pause {"reason":"r"}`, 0, did("pause", true, `,"type":"a/b"`)}}, "pause type a/b: done (audit 5)\n"},
		{"resume everything", "resume --all", []asked{{`POST /v1/resume {}`, 0, did("resume", true, "")}}, "resume everything: done (audit 5)\n"},
		{"audit", "audit --client-id alice --verb skip --limit 1", []asked{{"GET /v1/audit?client_id=alice&limit=1&verb=skip", 0,
			`{"audit":[{"id":5,"at":"2026-01-31T12:00:00.000000Z","who":"boss","verb":"skip","client_id":"alice","seq":17,"reason":"bad\nevent","answer":{"changed":true}}],"next":5}`}},
			"audit  at                    who   verb  client_id  type  seq  reason\n5      2026-01-31T12:00:00Z  boss  skip  alice      -     17   bad\\nevent\n! there may be more: go on with --before 5\n"},
		{"audit json", "audit --json --before 9", []asked{{"GET /v1/audit?before=9&limit=100", 0,
			`{"audit":[{"id":5,"at":"2026-01-31T12:00:00Z","who":"boss","verb":"pause","type":"charge","reason":"","answer":{"changed":true}}]}`}},
			`{"audit":[{"id":5,"at":"2026-01-31T12:00:00Z","who":"boss","verb":"pause","type":"charge","reason":"","answer":{"changed":true}}]}` + "\n"},
		{"no token", "audit", []asked{{"GET /v1/audit?limit=100", 401, `{"type":"urn:inturn:problem:unauthorized","title":"T","detail":"D"}`}},
			"inturn: audit: 401 Unauthorized: T: D\nhint: give a token with --token or INTURN_TOKEN\n"},
		{"not enough", "resume --all", []asked{{"POST /v1/resume {}", 403, `{"type":"urn:inturn:problem:forbidden","title":"T","detail":"D"}`}},
			"inturn: resume: 403 Forbidden: T: D\nhint: looking needs a token of scope read, changing one of scope operate: `inturn token new NAME --scope read --scope operate`\n"},
		{"something else", "types", []asked{{"GET /v1/types", 502, `<html>`}}, "inturn: types: 502 Bad Gateway\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := script(t, c.steps...)
			t.Setenv("INTURN_URL", client.URL)
			t.Setenv("INTURN_TOKEN", client.Token)
			io, out, errOut := newIO()
			err := runCommand(t, io, strings.Fields(c.args)...)
			got := out.String()
			if errOut.Len() > 0 {
				got += "! " + errOut.String()
			}
			if err != nil {
				var said strings.Builder
				if Fail(&said, err) != 1 {
					t.Errorf("status of %v", err)
				}
				got += said.String()
			}
			// Progress has a rate in it.
			if got != c.out && !(strings.Contains(c.out, "! events 500") && strings.HasPrefix(got, c.out)) {
				t.Errorf("prints\n%swant\n%s", got, c.out)
			}
		})
	}
}

// runCommand parses and runs a command line.
func runCommand(t *testing.T, io IO, args ...string) error {
	t.Helper()
	_, parsed, err := parseCommand(t, args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	parsed.BindTo(t.Context(), (*context.Context)(nil))
	parsed.Bind(io)
	return parsed.Run()
}

func TestOperatorWrongUsage(t *testing.T) {
	for _, args := range []string{
		"accounts skip", "accounts retry", "accounts skip alice --all", "accounts skip alice --type charge", "accounts skip alice --dry-run",
		"accounts skip --type charge", "accounts skip --all --seq 4", "accounts skip alice --seq -1", "accounts skip alice --resume k",
		"accounts pause", "accounts replay", "accounts erase alice", "accounts list --state busy", "accounts list --limit 0", "accounts list --sort age", "accounts list --sort oldest --after x", "accounts list --sort oldest --limit 1001",
		"dead show", "dead show x", "dead show 0", "dead redrive", "dead redrive 4 --all", "dead redrive 4 --since 1h", "dead redrive 4 --client-id a",
		"dead redrive --since 1h", "dead redrive --all --since yesterday", "dead redrive -- -4", "dead list --since -5m",
		"cancel", "cancel alice", "pause", "resume", "pause charge --all", "resume charge --all",
	} {
		_, _, err := parseCommand(t, strings.Fields(args)...)
		var said strings.Builder
		if status := Fail(&said, err); status != 2 {
			t.Errorf("%s: status %d: %s", args, status, said.String())
		}
	}
}

// A bulk that is cut short says how to go on; one that never began doesn't.
func TestManyAreResumed(t *testing.T) {
	for _, c := range []struct {
		name  string
		cut   func(w http.ResponseWriter)
		begun bool
		again bool // net/http sends it again by itself, over another connection
	}{
		{"the connection breaks", breakOff, true, true},
		{"the server stops", func(w http.ResponseWriter) { refuse(w, http.StatusServiceUnavailable) }, true, false},
		{"it is refused", func(w http.ResponseWriter) { refuse(w, http.StatusForbidden) }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var keys, bodies []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				keys, bodies = append(keys, r.Header.Get("Idempotency-Key")), append(bodies, string(body))
				if len(keys) == 2 || len(keys) == 3 && c.again {
					c.cut(w)
					return
				}
				fmt.Fprintf(w, `{"verb":"redrive","dry_run":false,"duplicate":false,"count":500,"more":%v,"key":"k","audit":2}`, len(keys) == 1)
			}))
			defer server.Close()
			t.Setenv("INTURN_URL", server.URL)
			out, _, errOut := newIO()
			if err := runCommand(t, out, "dead", "redrive", "--all", "--since", "90m"); err == nil {
				t.Fatal("no error")
			}
			_, again, begun := strings.Cut(errOut.String(), "the same command with ")
			if begun != c.begun {
				t.Fatalf("says %s", errOut)
			}
			if !begun {
				return
			}
			again, _, _ = strings.Cut(again, " goes on")
			if err := runCommand(t, out, append([]string{"dead", "redrive", "--all"}, strings.Fields(again)...)...); err != nil {
				t.Fatal(err)
			}
			if len(keys) < 3 || keys[0] == `""` || len(slices.Compact(keys)) != 1 || len(slices.Compact(bodies)) != 1 {
				t.Errorf("keys %q, bodies %q", keys, bodies)
			}
		})
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	t.Setenv("INTURN_URL", server.URL)
	out, _, errOut := newIO()
	err := runCommand(t, out, "accounts", "skip", "--all")
	if h, ok := errors.AsType[*Hint](err); !ok || !strings.Contains(h.Hint, "is the server running") || errOut.Len() > 0 {
		t.Errorf("nobody there: %v, %s", err, errOut)
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 1500, time.UTC)
	for in, want := range map[string]string{"": "0001-01-01T00:00:00Z", "90m": "2026-01-31T10:30:00.000001Z", "0s": "2026-01-31T12:00:00.000001Z", "2026-01-31T13:00:00+01:00": "2026-01-31T12:00:00Z"} {
		got, err := Since{Since: in}.time(now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v", in, got.Format(time.RFC3339Nano), err)
		}
	}
}
