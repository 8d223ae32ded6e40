package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"inturn/db"
	"inturn/functions"
)

var hook = functions.HTTP("POST /hooks/{client}/{id}", func(r *http.Request) (functions.Event, error) {
	switch r.Header.Get("Signature") {
	case "bad":
		return functions.Event{}, functions.Unauthorized(errors.New("the signature does not fit"))
	case "field":
		return functions.Event{}, functions.Field("phone", "is wrong")
	case "error":
		return functions.Event{}, errors.New("no webhook-id")
	case "panic":
		panic("secret thing")
	}
	body, err := io.ReadAll(r.Body)
	return functions.Event{ClientID: r.PathValue("client"), MessageID: r.PathValue("id"), Type: "any", Payload: body}, err
})

func TestHTTPFunctions(t *testing.T) {
	s := &fakeStore{}
	// Tokens are not asked for.
	h := newAPI(t, Options{Store: s, Functions: testSet(t, hook), Tokens: &Tokens{}})
	w := request(h, "POST", "/hooks/a/1", ` { "x" : [ 1 , "\u00e9 " ] } `, "X-Request-ID", "r1", "Traceparent", "00-"+strings.Repeat("ab", 16)+"-"+strings.Repeat("cd", 8)+"-01")
	wantJSON(t, w, 202, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":false}`)
	if e := s.events[0]; string(e.Payload) != `{"x":[1,"\u00e9 "]}` || e.RequestID != "r1" || len(e.Attrs) == 0 {
		t.Errorf("stored %+v", e)
	}

	w = request(h, "POST", "/hooks/a/2", `{}`, "Signature", "bad")
	if p := wantProblem(t, w, 401, "unauthorized"); p.Detail != "the signature does not fit" || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("%+v, %v", p, w.Header())
	}
	if p := wantProblem(t, request(h, "POST", "/hooks/a/2", `{}`, "Signature", "field"), 400, "invalid-event"); p.Errors[0].Pointer != "#/payload/phone" {
		t.Errorf("%+v", p)
	}
	if p := wantProblem(t, request(h, "POST", "/hooks/a/2", `{}`, "Signature", "error"), 400, "invalid-event"); p.Detail != "no webhook-id" {
		t.Errorf("%+v", p)
	}
	if w = request(h, "POST", "/hooks/a/2", `{}`, "Signature", "panic"); strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the panic is shown: %s", w.Body)
	}
	wantProblem(t, w, 500, "internal")
	for body, pointer := range map[string]string{`{"a":{"b":1,"b":2}}`: "#/payload/a/b", `{} {}`: "#/payload", ``: "#/payload", strings.Repeat("[", 65) + strings.Repeat("]", 65): "#/payload"} {
		if p := wantProblem(t, request(h, "POST", "/hooks/a/2", body), 400, "invalid-event"); p.Errors[0].Pointer != pointer {
			t.Errorf("%s: %+v", body, p)
		}
	}
}

// A sender that repeats a delivery may compose it anew: the first one stays, and the answer
// is a repeat's. One that shows people what it is answered gets nothing to show.
func TestAnswersOfHTTPFunctions(t *testing.T) {
	receive := func(r *http.Request) (functions.Event, error) {
		if r.Header.Get("Signature") == "challenge" {
			return functions.Event{}, functions.Answer("text/plain; charset=utf-8", []byte("3eZ<b>"))
		}
		body, err := io.ReadAll(r.Body)
		return functions.Event{ClientID: "a", MessageID: r.PathValue("id"), Type: "any", Payload: body}, err
	}
	s := &fakeStore{}
	h := newAPI(t, Options{Store: s, Functions: testSet(t,
		functions.HTTP("POST /strict/{id}", receive),
		functions.HTTP("POST /repeat/{id}", receive, functions.RepeatByID()),
		functions.HTTP("POST /empty/{id}", receive, functions.RepeatByID(), functions.EmptyAnswer()))})
	wantJSON(t, request(h, "POST", "/repeat/1", `{"try":1}`), 202, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":false}`)
	wantJSON(t, request(h, "POST", "/repeat/1", `{"try":2}`), 202, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":true}`)
	wantProblem(t, request(h, "POST", "/strict/1", `{"try":2}`), 422, "id-reused")
	for _, body := range []string{`{"try":1}`, `{"try":1}`, `{"try":2}`} {
		if w := request(h, "POST", "/empty/2", body); w.Code != 200 || w.Body.Len() != 0 || len(s.events) != 2 {
			t.Errorf("%s: %d %q, %d events", body, w.Code, w.Body, len(s.events))
		}
	}
	if string(s.events[0].Payload) != `{"try":1}` || string(s.events[1].Payload) != `{"try":1}` {
		t.Errorf("a repeat has changed its event: %+v", s.events)
	}
	w := request(h, "POST", "/empty/3", `{}`, "Signature", "challenge")
	if w.Code != 200 || w.Body.String() != "3eZ<b>" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" || len(s.events) != 2 {
		t.Errorf("%d %q %v, %d events", w.Code, w.Body, w.Header(), len(s.events))
	}
	s.err = db.ErrStorageFull
	wantProblem(t, request(h, "POST", "/empty/4", `{}`), 503, "storage-full")
}

func TestPatternsThatClash(t *testing.T) {
	f := func(*http.Request) (functions.Event, error) { return functions.Event{}, nil }
	for _, pattern := range []string{"POST /v1/events", "GET /v1/events/{a}/{b}", "POST {", "POST /x/{a}/{a}"} {
		_, err := New(Options{Store: &fakeStore{}, Functions: testSet(t, functions.HTTP(pattern, f))})
		if err == nil || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New without a store")
	}
}

func TestAFunctionsPanicAtTheDoor(t *testing.T) {
	log, lines := logLines()
	h := newAPI(t, Options{Log: log})
	w := request(h, "POST", "/v1/events", `{"client_id":"a","message_id":"1","type":"panics","payload":{}}`)
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the panic is shown: %s", w.Body)
	}
	p := wantProblem(t, w, 500, "internal")
	got := lines()
	if len(got) != 2 || got[0]["panic"] != "secret thing" || got[0]["request_id"] != p.RequestID || got[1]["level"] != "ERROR" {
		t.Errorf("log: %v", got)
	}
}

func TestAPanicInTheMiddleOfAnAnswerCutsIt(t *testing.T) {
	f := newFront(Options{}.complete())
	routes := http.NewServeMux()
	routes.HandleFunc("GET /x", f.serve(func(x *exchange, r *http.Request) error {
		x.Write([]byte("half"))
		panic("later")
	}))
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	request(f.handler(func() *http.ServeMux { return routes }), "GET", "/x", "")
	t.Error("the answer looks whole")
}

// Functions, and the paths of those that are HTTP functions, are replaced while requests
// come in; what can't be mounted changes nothing.
func TestSetFunctions(t *testing.T) {
	h, err := New(Options{Store: &fakeStore{}, Functions: testSet(t, hook)})
	if err != nil {
		t.Fatal(err)
	}
	post := func(path, typ string) int {
		return request(h, "POST", path, `{"client_id":"a","message_id":"1","type":"`+typ+`","payload":1}`).Code
	}
	if got := []int{post("/v1/events", "any"), post("/hooks/a/2", ""), post("/other/a/3", "")}; !slices.Equal(got, []int{202, 202, 404}) {
		t.Errorf("before: %v", got)
	}
	receive := func(r *http.Request) (functions.Event, error) {
		return functions.Event{ClientID: r.PathValue("client"), MessageID: r.PathValue("id"), Type: "added", Payload: []byte("1")}, nil
	}
	other := functions.HTTP("POST /other/{client}/{id}", receive)
	added := functions.New("added", func(context.Context, functions.Event, any) (functions.Effect, error) { return nil, nil })
	set, err := functions.NewSet(other, added)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetFunctions(set); err != nil {
		t.Fatal(err)
	}
	if got := []int{post("/v1/events", "any"), post("/v1/events", "gone"), post("/hooks/a/2", ""), post("/other/a/4", "")}; !slices.Equal(got, []int{400, 400, 404, 202}) {
		t.Errorf("after: %v", got)
	}
	clash, err := functions.NewSet(other, functions.HTTP("POST /other/{x}/{y}", receive))
	if err != nil {
		t.Fatal(err)
	}
	if h.SetFunctions(clash) == nil || CheckFunctions(clash) == nil || CheckFunctions(set) != nil {
		t.Error("a clash is taken, or what is good refused")
	}
	if got := post("/other/a/5", ""); got != 202 {
		t.Errorf("after the clash: %d", got)
	}
}

func TestConfigSchema(t *testing.T) {
	h := newAPI(t, Options{ConfigSchema: []byte(`{"a":1}`), Tokens: &Tokens{}})
	if w := request(h, "GET", "/v1/config.schema.json", ""); w.Code != 200 || w.Body.String() != `{"a":1}` || w.Header().Get("Content-Type") != "application/schema+json" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}
