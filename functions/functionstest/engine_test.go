package functionstest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
)

type note struct {
	Text string `json:"text"`
}

func (n *note) Check() error {
	if n.Text == "" {
		return functions.Field("text", "is missing or empty")
	}
	return nil
}

const notes = `CREATE TABLE notes (id INTEGER PRIMARY KEY, client TEXT NOT NULL, text TEXT NOT NULL) STRICT`

var keep = functions.New("note", func(_ context.Context, ev functions.Event, n note) (functions.Effect, error) {
	if n.Text == "never" {
		return nil, functions.Reject(errors.New("never is never kept"))
	}
	return func(tx functions.Tx) (any, error) {
		res, err := tx.ExecContext(tx.Context(), `INSERT INTO notes (client, text) VALUES (?, ?)`, ev.ClientID, n.Text)
		if err != nil {
			return nil, err
		}
		id, err := res.LastInsertId()
		return map[string]int64{"note": id}, err
	}, nil
}, functions.Tables(1, notes))

var hook = functions.HTTP("POST /hooks/{client}", func(r *http.Request) (functions.Event, error) {
	if r.Header.Get("Secret") != "open" {
		return functions.Event{}, functions.Unauthorized(errors.New("no secret"))
	}
	return functions.Event{ClientID: r.PathValue("client"), MessageID: r.Header.Get("Id"), Type: "note", Payload: []byte(`{"text":"by hook"}`)}, nil
})

func event(client, id, text string) functions.Event {
	return functions.Event{ClientID: client, MessageID: id, Type: "note", Payload: fmt.Appendf(nil, `{ "text" : %q }`, text)}
}

func TestAnEventGoesThrough(t *testing.T) {
	e := functionstest.New(t, keep)
	got := e.Do(event("anna", "1", "hello"))
	if got.State != db.Done || string(got.Result.Output) != `{"note":1}` || string(got.Payload) != `{"text":"hello"}` {
		t.Errorf("settled as %s, %+v, payload %s", got.State, got.Result, got.Payload)
	}
	again := e.Send(event("anna", "1", "hello"))
	if !again.Duplicate || again.Seq != got.Seq || again.Result == nil {
		t.Errorf("the same again: %+v", again)
	}
	if dead := e.Do(event("anna", "2", "never")); dead.State != db.Dead || !strings.Contains(dead.Result.Error, "never is never kept") {
		t.Errorf("rejected: %s, %+v", dead.State, dead.Result)
	}
	want := [][]any{{int64(1), "anna", "hello"}}
	if rows := e.Query(`SELECT id, client, text FROM notes WHERE client = ?`, "anna"); !reflect.DeepEqual(rows, want) {
		t.Errorf("notes %v, want %v", rows, want)
	}
}

func TestAppendRefusesAsTheDoorDoes(t *testing.T) {
	e := functionstest.New(t, keep)
	e.Do(event("anna", "1", "hello"))
	for what, c := range map[string]struct {
		ev      functions.Event
		pointer string
	}{
		"a payload that Check refuses": {event("anna", "2", ""), "/payload/text"},
		"a payload that isn't JSON":    {functions.Event{ClientID: "a", MessageID: "m", Type: "note", Payload: []byte(`{`)}, "/payload"},
		"no payload":                   {functions.Event{ClientID: "a", MessageID: "m", Type: "note"}, "/payload"},
		"an unknown type":              {functions.Event{ClientID: "a", MessageID: "m", Type: "x", Payload: []byte(`{}`)}, "/type"},
	} {
		_, err := e.Append(t.Context(), c.ev)
		if fe, ok := errors.AsType[*functions.FieldError](err); !ok || fe.Pointer != c.pointer {
			t.Errorf("%s: %v, want an error at %s", what, err, c.pointer)
		}
	}
	_, err := e.Append(t.Context(), event("anna", "1", "other"))
	if _, ok := errors.AsType[*db.IDReusedError](err); !ok {
		t.Errorf("an identity used again: %v", err)
	}
	if rows := e.Query(`SELECT count(*) FROM outbox`); rows[0][0] != int64(1) {
		t.Errorf("%v events are kept, want the first alone", rows[0][0])
	}
}

func TestRequestGoesThroughTheHTTPFunction(t *testing.T) {
	e := functionstest.New(t, keep, hook)
	request := func(method, path, secret string) (db.Receipt, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Secret", secret)
		r.Header.Set("Id", "7")
		return e.Request(r)
	}
	receipt, err := request("POST", "/hooks/anna", "open")
	if err != nil {
		t.Fatal(err)
	}
	e.Wait(receipt)
	if got := e.Find("anna", "7"); got.State != db.Done {
		t.Errorf("%+v", got)
	}
	if _, err := request("POST", "/hooks/anna", "wrong"); err == nil {
		t.Error("a request without the secret was taken")
	} else if _, ok := errors.AsType[*functions.UnauthorizedError](err); !ok {
		t.Errorf("without the secret: %v", err)
	}
	for _, c := range [][2]string{{"GET", "/hooks/anna"}, {"POST", "/else"}} {
		if _, err := request(c[0], c[1], "open"); err == nil || !strings.Contains(err.Error(), "no HTTP function matches") {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestAFileIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "again.db")
	first := functionstest.Open(t, path, keep)
	first.Do(event("anna", "1", "hello"))
	first.Close()
	second := functionstest.Open(t, path, keep)
	if got := second.Send(event("anna", "1", "hello")); !got.Duplicate || got.State != db.Done {
		t.Errorf("after a restart: %+v", got)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
