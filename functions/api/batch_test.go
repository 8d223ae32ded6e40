package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"inturn/db"
)

// entry is one answer of many, as a client sees it.
type entry struct {
	N             int             `json:"n"`
	Status        int             `json:"status"`
	ClientID      string          `json:"client_id"`
	MessageID     string          `json:"message_id"`
	Seq           int64           `json:"seq"`
	State         string          `json:"state"`
	Duplicate     *bool           `json:"duplicate"`
	Result        json.RawMessage `json:"result"`
	ResultOmitted bool            `json:"result_omitted"`
	Error         string          `json:"error"`
	Type          string          `json:"type"`
	Title         string          `json:"title"`
	Detail        string          `json:"detail"`
	RetryAfter    int             `json:"retry_after"`
	Errors        []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

// said is an entry in short: its status, and the problem or what the receipt says.
func (e entry) said() string {
	if e.Type != "" {
		s := fmt.Sprint(e.Status, " ", strings.TrimPrefix(e.Type, "urn:inturn:problem:"))
		for _, f := range e.Errors {
			s += " " + f.Pointer
		}
		return s
	}
	s := fmt.Sprint(e.Status, " ", e.ClientID, "/", e.MessageID, " ", e.Seq, " ", e.State)
	if e.Duplicate != nil && *e.Duplicate {
		s += " repeat"
	}
	if e.Result != nil {
		s += " " + string(e.Result)
	}
	return s
}

func said(entries []entry) string {
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.said()
	}
	return strings.Join(all, "\n")
}

func strict(t testing.TB, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in %.2000s", err, text)
	}
}

type summary struct {
	Results                       []entry `json:"results"`
	Accepted, Duplicates, Refused int
}

func postBatchOf(t testing.TB, h http.Handler, target, body string, headers ...string) summary {
	t.Helper()
	w := request(h, "POST", target, body, headers...)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var s summary
	strict(t, w.Body.String(), &s)
	if n := s.Accepted + s.Duplicates + s.Refused; n != len(s.Results) {
		t.Errorf("%d entries are counted, there are %d", n, len(s.Results))
	}
	return s
}

// small is an event that the function any takes.
func small(client, id string) string {
	return fmt.Sprintf(`{"client_id":%q,"message_id":%q,"type":"any","payload":%q}`, client, id, id)
}

// mixed is items of every kind, and what each is told.
var mixed = []struct{ body, told, toldOnContinue string }{
	{small("a", "1"), "202 a/1 1 pending", ""},
	{small("done", "1"), "200 done/1 0 done repeat {}", ""},
	{small("a", "1"), "202 a/1 1 pending repeat", ""},
	{`{"client_id":"a","message_id":"2","payload":{"phone":7}}`, "400 invalid-event #/payload/phone", ""},
	{small("a", "3"), "424 not-attempted", "202 a/3 2 pending"},
	{`{"client_id":"a","message_id":"4","payload":{"phone":7}}`, "424 not-attempted", "400 invalid-event #/payload/phone"},
	{small("b", "1"), "202 b/1 2 pending", "202 b/1 3 pending"},
	{strings.Replace(small("b", "1"), `"payload":"1"`, `"payload":"other"`, 1), "422 id-reused", ""},
	{`{"client_id":"b","message_id":"5","payload":{"phone":7}}`, "424 not-attempted", "400 invalid-event #/payload/phone"},
	{small("b", "2"), "424 not-attempted", "202 b/2 4 pending"},
	{small("full", "1"), "429 account-full", ""},
	{small("full", "2"), "424 not-attempted", "429 account-full"},
	{`{"x":1,"client_id":"c","message_id":"1","type":"any","payload":1}`, "400 invalid-event #/x", ""},
	{small("c", "2"), "424 not-attempted", "202 c/2 5 pending"},
	{small("d", "1"), "202 d/1 3 pending", "202 d/1 6 pending"},
	{`{"client_id":"d","client_id":"e","message_id":"2","type":"any","payload":1}`, "400 invalid-event #/client_id", ""},
	{small("f", "1"), "424 not-attempted", "202 f/1 7 pending"},
	{`{"message_id":"1"}`, "424 not-attempted", "400 invalid-event #/client_id #/payload"},
	{`7`, "424 not-attempted", "400 invalid-event #"},
}

// mixedStore has what the mixed items need: an event that is done, an account that is full.
func mixedStore(t testing.TB) *fakeStore {
	s := &fakeStore{full: map[string]error{"full": db.ErrAccountFull}}
	if w := request(newAPI(t, Options{Store: s}), "POST", "/v1/events", small("done", "1")); w.Code != 202 {
		t.Fatal(w.Body)
	}
	s.settle(1, db.Result{Status: db.Done, Output: []byte(`{}`)})
	s.first = 1 // seqs of the items begin at 1
	return s
}

func mixedBodies() (bodies []string) {
	for _, m := range mixed {
		bodies = append(bodies, m.body)
	}
	return bodies
}

func mixedTold(keepGoing bool) string {
	var all []string
	for _, m := range mixed {
		if keepGoing && m.toldOnContinue != "" {
			all = append(all, m.toldOnContinue)
			continue
		}
		all = append(all, m.told)
	}
	return strings.Join(all, "\n")
}

func TestABatch(t *testing.T) {
	for _, query := range []string{"", "?on_error=continue"} {
		s := mixedStore(t)
		got := postBatchOf(t, newAPI(t, Options{Store: s}), "/v1/events"+query, " [ "+strings.Join(mixedBodies(), " ,\n")+" ] \n")
		if want := mixedTold(query != ""); said(got.Results) != want {
			t.Errorf("%s got\n%s\nwant\n%s", query, said(got.Results), want)
		}
		for _, e := range got.Results {
			if (e.Status == 429 || e.Status == 503) != (e.RetryAfter > 0) {
				t.Errorf("%s with retry_after %d", e.said(), e.RetryAfter)
			}
		}
		if got.Accepted == 0 || got.Duplicates != 2 {
			t.Errorf("%d accepted, %d duplicates", got.Accepted, got.Duplicates)
		}
	}
	if got := postBatchOf(t, newAPI(t, Options{}), "/v1/events", "[]"); len(got.Results) != 0 {
		t.Errorf("an empty batch: %+v", got)
	}
}

func TestABatchThatIsNotTaken(t *testing.T) {
	good := small("a", "1")
	for _, tt := range []struct {
		name, body, query string
		headers           []string
		status            int
		problem           string
	}{
		{"cut off", "[" + good, "", nil, 400, "invalid-event"},
		{"cut off in an event", "[" + good + "," + good[:20], "", nil, 400, "invalid-event"},
		{"no comma", "[" + good + good + "]", "", nil, 400, "invalid-event"},
		{"a comma too many", "[" + good + ",]", "", nil, 400, "invalid-event"},
		{"something after it", "[" + good + "]x", "", nil, 400, "invalid-event"},
		{"two arrays", "[" + good + "][]", "", nil, 400, "invalid-event"},
		{"too many", "[" + strings.Repeat(good+",", 3) + good + "]", "", nil, 413, "too-large"},
		{"too long", "[" + strings.Repeat(" ", 2000) + "]", "", nil, 413, "too-large"},
		{"an on_error that is none", "[]", "?on_error=stop", nil, 400, "invalid-request"},
		{"two on_errors", "[]", "?on_error=continue&on_error=continue", nil, 400, "invalid-request"},
		{"an Idempotency-Key", "[" + good + "]", "", []string{"Idempotency-Key", `"1"`}, 400, "invalid-request"},
	} {
		s := &fakeStore{}
		h := newAPI(t, Options{Store: s, MaxEvent: 500, MaxBody: 1000, MaxBatch: 3})
		w := request(h, "POST", "/v1/events"+tt.query, tt.body, tt.headers...)
		if w.Code != tt.status {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
			continue
		}
		wantProblem(t, w, tt.status, tt.problem)
		if len(s.events) != 0 {
			t.Errorf("%s: %d events were taken", tt.name, len(s.events))
		}
	}
}

// An event of a batch is bounded as one alone is, the batch by its own bound.
func TestSizesInABatch(t *testing.T) {
	h := newAPI(t, Options{MaxEvent: 200, MaxBody: 1000})
	large := strings.Replace(small("a", "2"), `"payload":"2"`, `"payload":"`+strings.Repeat("x", 200)+`"`, 1)
	got := postBatchOf(t, h, "/v1/events", "["+strings.Join([]string{small("a", "1"), large, small("a", "3"), small("b", "1")}, ",")+"]")
	if want := "202 a/1 1 pending\n413 too-large\n424 not-attempted\n202 b/1 2 pending"; said(got.Results) != want {
		t.Errorf("got\n%s", said(got.Results))
	}
}

// What the storage can't take now is no fault of any item: the batch is refused whole.
func TestABatchThatTheStorageRefuses(t *testing.T) {
	for _, tt := range []struct {
		err     error
		problem string
	}{
		{db.ErrOverloaded, "overloaded"}, {db.ErrStorageFull, "storage-full"}, {db.ErrClosed, "shutting-down"}, {db.ErrOutcomeUnknown, "outcome-unknown"},
	} {
		s := &fakeStore{batchErrs: []error{fmt.Errorf("secret: %w", tt.err)}}
		w := request(newAPI(t, Options{Store: s}), "POST", "/v1/events", "["+small("a", "1")+"]")
		wantProblem(t, w, 503, tt.problem)
	}
	s := &fakeStore{batchErrs: []error{errors.New("secret")}}
	wantProblem(t, request(newAPI(t, Options{Store: s}), "POST", "/v1/events", "["+small("a", "1")+"]"), 500, "internal")
}

func TestResultsOfABatchAreBounded(t *testing.T) {
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s})
	var bodies []string
	for i := range 3 {
		bodies = append(bodies, small("a", fmt.Sprint(i)))
		request(h, "POST", "/v1/events", bodies[i])
		s.settle(int64(i+1), db.Result{Status: db.Done, Output: []byte(`"` + strings.Repeat("x", maxResults/2-10) + `"`)})
	}
	got := postBatchOf(t, h, "/v1/events", "["+strings.Join(bodies, ",")+"]")
	if got.Results[0].ResultOmitted || got.Results[1].ResultOmitted || !got.Results[2].ResultOmitted || got.Results[2].State != "done" {
		t.Errorf("omitted: %t %t %t", got.Results[0].ResultOmitted, got.Results[1].ResultOmitted, got.Results[2].ResultOmitted)
	}
}

// A token for some client_ids refuses items of others, and holds only theirs.
func TestForeignClientIDsInABatch(t *testing.T) {
	tokens, err := LoadTokens(tokenFile(t, fmt.Sprintf(`{"tokens":[{"name":"n","hash":%q,"scopes":["ingest"],"client_ids":["a"]}]}`, HashToken("x"))), "")
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Tokens: tokens})
	got := postBatchOf(t, h, "/v1/events", "["+small("a", "1")+","+small("b", "1")+","+small("a", "2")+","+small("b", "2")+"]", "Authorization", "Bearer x")
	if want := "202 a/1 1 pending\n403 forbidden\n202 a/2 2 pending\n424 not-attempted"; said(got.Results) != want {
		t.Errorf("got\n%s", said(got.Results))
	}
}

// Entries that are refused name their event, whatever was wrong with it.
func TestIdentityIn(t *testing.T) {
	for _, tt := range []struct {
		body            string
		cloud           bool
		client, message string
	}{
		{`{"x":1,"client_id":"a","message_id":"m"}`, false, "a", "m"},
		{`{"message_id":"m","payload":{"message_id":"n"}}`, false, "", "m"},
		{`{"client_id":"a","message_id":"m","message_id":"m"}`, false, "a", ""},
		{`{"client_id":"a","message_id":7}`, false, "a", ""},
		{`{"data_base64":"","id":"1","source":"s"}`, true, "s", "1"},
		{`{"id":"1","source":"s","partitionkey":"k"}`, true, "k", "s 1"},
		{`{"id":"1","partitionkey":"k"}`, true, "k", ""},
		{`{"id":"1","source":"s","partitionkey":7}`, true, "", ""},
		{`{"id":"1","source":"s"`, true, "", ""},
	} {
		if client, message := identityIn([]byte(tt.body), tt.cloud); client != tt.client || message != tt.message {
			t.Errorf("%s: %q %q, want %q %q", tt.body, client, message, tt.client, tt.message)
		}
	}
	h := newAPI(t, Options{})
	got := postBatchOf(t, h, "/v1/events", `[{"specversion":"1.0","data_base64":"AA==","type":"any","id":"1","source":"s"}]`, "Content-Type", typeCloudBatch)
	if e := got.Results[0]; e.Status != 415 || e.ClientID != "s" || e.MessageID != "1" {
		t.Errorf("%+v", e)
	}
}

func TestAccountIn(t *testing.T) {
	for _, tt := range []struct {
		body, plain, cloud string
	}{
		{`{"client_id":"a"}`, "a", ""},
		{`{"x":1,"client_id":"a","payload":{"y":1,"y":2,"client_id":"b"}}`, "a", ""},
		{"{\"client_id\":\"a\",\"payload\":\"\xff\"}", "a", ""},
		{`{"client\u005fid":"\u0061"}`, "a", ""},
		{`{"client_id":"a","client_id":"a"}`, "", ""},
		{`{"client_id":"a","client\u005fid":"b"}`, "", ""},
		{`{"client_id":7}`, "", ""}, {`{"client_id":null}`, "", ""}, {`{"client_id":""}`, "", ""}, {`{"client_id":["a"]}`, "", ""},
		{`{"client_id":"a"`, "", ""}, {`{"client_id":"a"}}`, "", ""}, {`{"client_id":"a",}`, "", ""}, {`["client_id","a"]`, "", ""}, {``, "", ""}, {`"client_id"`, "", ""},
		{`{"source":"s"}`, "", "s"}, {`{"source":"s","partitionkey":"k"}`, "", "k"}, {`{"source":"s","partitionkey":null}`, "", "s"},
		{`{"source":"s","partitionkey":7}`, "", ""}, {`{"source":"s","source":"t"}`, "", ""},
	} {
		if got, _ := identityIn([]byte(tt.body), false); got != tt.plain {
			t.Errorf("%s: %q, want %q", tt.body, got, tt.plain)
		}
		if got, _ := identityIn([]byte(tt.body), true); got != tt.cloud {
			t.Errorf("%s as CloudEvent: %q, want %q", tt.body, got, tt.cloud)
		}
	}
}

func TestAnOrderIsBounded(t *testing.T) {
	o := &order{}
	for i := range maxHeldAccounts {
		o.refuse(fmt.Sprint(i))
	}
	if o.holds("other") || !o.holds("7") {
		t.Error("too early")
	}
	o.refuse("one more")
	if !o.holds("other") || len(o.held) > maxHeldAccounts {
		t.Errorf("%d accounts are held", len(o.held))
	}
	var none *order
	none.refuse("")
	if none.holds("a") {
		t.Error("without an order nothing is held")
	}
}
