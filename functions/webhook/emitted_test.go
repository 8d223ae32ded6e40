package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
)

// leaf is a function for what endpoints emit; a payload of null or an object will do.
var leaf = functions.New("leaf", func(context.Context, functions.Event, *struct{}) (functions.Effect, error) { return nil, nil })

func paid(id string) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop")
	e.SetType("leaf")
	if err := e.SetData(cloudevents.ApplicationJSON, map[string]string{"order": id}); err != nil {
		panic(err)
	}
	return e
}

// engineOf runs the endpoint's function, and leaf, on an engine.
func engineOf(t *testing.T, handler http.Handler) *functionstest.Engine {
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	x.call(srv.URL, Options{})
	e := functionstest.New(t, append(x.hooks.Functions(), leaf)...)
	t.Cleanup(x.hooks.Close)
	return e
}

func send(client, id string) functions.Event {
	return functions.Event{ClientID: client, MessageID: id, Type: "t", Payload: []byte(`{"sku":"tea"}`),
		Attrs: []byte(`{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`)}
}

// The SDK for Go takes the event, however odd the account's id is, and what it answers,
// in binary mode or structured, is emitted.
func TestTheSDKEmits(t *testing.T) {
	protocol, err := cloudevents.NewHTTP()
	if err != nil {
		t.Fatal(err)
	}
	receive := func(ev cloudevents.Event) (*cloudevents.Event, cloudevents.Result) {
		answer := paid("paid-" + ev.ID())
		answer.SetExtension("partitionkey", ev.Extensions()["partitionkey"])
		answer.SetSubject("a tea")
		return &answer, cloudevents.ResultACK
	}
	binary, err := cloudevents.NewHTTPReceiveHandler(t.Context(), protocol, receive)
	if err != nil {
		t.Fatal(err)
	}
	structured := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ev, err := cloudevents.NewEventFromHTTPRequest(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, _ := receive(*ev)
		ctx := binding.WithForceStructured(r.Context())
		if err := cehttp.WriteResponseWriter(ctx, binding.ToMessage(answer), http.StatusOK, w); err != nil {
			t.Error(err)
		}
	})
	for mode, handler := range map[string]http.Handler{"binary": binary, "structured": structured} {
		t.Run(mode, func(t *testing.T) {
			e := engineOf(t, handler)
			for i, client := range []string{"anna", "42:7", "a%b", "Anna Müller"} {
				got := e.Do(send(client, "m1"))
				want := fmt.Sprintf(`[{"client_id":%q,"message_id":"paid-m1","seq":%d,"state":"pending","duplicate":false}]`, client, 2*i+2)
				if got.State != db.Done || string(got.Result.Output) != want {
					t.Errorf("%s: %s %s %+v, want %s", client, got.State, got.Result.Output, got.Result, want)
				}
				rows := e.Query(`SELECT type, payload, json_extract(attrs, '$.subject'), json_extract(attrs, '$.source'), json_extract(attrs, '$.traceparent') FROM outbox WHERE client_id = ? AND message_id = 'paid-m1'`, client)
				if got := fmt.Sprint(rows); got != `[[leaf {"order":"paid-m1"} a tea /shop 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01]]` {
					t.Errorf("%s: emitted %s", client, got)
				}
			}
		})
	}
}

// cloud is an event in the JSON format.
func cloud(id, more string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/shop","type":"leaf"%s}`, id, more)
}

func answering(contentType string, body func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body())
	}
}

const (
	oneType   = "application/cloudevents+json; charset=utf-8"
	batchType = "application/cloudevents-batch+json"
)

func TestABatchIsEmitted(t *testing.T) {
	body := ""
	e := engineOf(t, answering(batchType, func() string { return body }))
	body = "[" + cloud("1", "") + "," + cloud("2", `,"partitionkey":"bert","data":{"n" : 1.50},"traceparent":"00-own"`) + "," + cloud("1", "") + "]"
	if got, want := string(e.Do(send("anna", "m1")).Result.Output), `[{"client_id":"anna","message_id":"1","seq":2,"state":"pending","duplicate":false},`+
		`{"client_id":"bert","message_id":"2","seq":3,"state":"pending","duplicate":false},{"client_id":"anna","message_id":"1","seq":2,"state":"pending","duplicate":true}]`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := fmt.Sprint(e.Query(`SELECT payload, json_extract(attrs, '$.traceparent') FROM outbox WHERE seq IN (2, 3) ORDER BY seq`)); got != `[[null 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01] [{"n":1.50} 00-own]]` {
		t.Error(got)
	}
	// What it emitted before is there once, and its receipt says how far it is.
	e.Wait(db.Receipt{ClientID: "anna", MessageID: "1", Seq: 2})
	body = "[" + cloud("1", "") + "]"
	if got, want := string(e.Do(send("anna", "m2")).Result.Output), `[{"client_id":"anna","message_id":"1","seq":2,"state":"done","duplicate":true}]`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	body = "[]"
	if got := string(e.Do(send("anna", "m3")).Result.Output); got != "[]" {
		t.Errorf("an empty batch: %s", got)
	}
}

// An answer with an event that can't be taken emits none of its events, and is a failed
// attempt that says why: the endpoint may answer better next time.
func TestEventsThatCantBeTaken(t *testing.T) {
	many := slices.Repeat([]string{cloud("1", "")}, functions.MaxEmit+1)
	for name, c := range map[string]struct{ contentType, body, says string }{
		"no JSON":              {oneType, `{`, "with what is no CloudEvent: is not valid JSON"},
		"nothing":              {oneType, ``, "with what is no CloudEvent"},
		"a batch for one":      {oneType, `[` + cloud("1", "") + `]`, "must be a JSON object"},
		"one for a batch":      {batchType, cloud("1", ""), "must be a JSON array"},
		"two":                  {oneType, cloud("1", "") + cloud("2", ""), "goes on"},
		"no id":                {oneType, `{"specversion":"1.0","source":"/s","type":"leaf"}`, `attribute "id" is missing`},
		"an id of null":        {oneType, `{"specversion":"1.0","id":null,"source":"/s","type":"leaf"}`, `attribute "id" is missing`},
		"another version":      {oneType, `{"specversion":"0.3","id":"1","source":"/s","type":"leaf"}`, `attribute "specversion" must be 1.0`},
		"a bad source":         {oneType, `{"specversion":"1.0","id":"1","source":"a b","type":"leaf"}`, `attribute "source" must be a URI-reference`},
		"a number for an id":   {oneType, `{"specversion":"1.0","id":1,"source":"/s","type":"leaf"}`, `attribute "id" must be a string`},
		"a name in capitals":   {oneType, cloud("1", `,"Big":"x"`), `"Big" is no name of an attribute`},
		"an object":            {oneType, cloud("1", `,"x":{}`), `attribute "x" must be`},
		"a name twice":         {oneType, cloud("1", `,"x":"1","x":"2"`), "duplicate"},
		"base64":               {oneType, cloud("1", `,"data_base64":"eA=="`), "data_base64 is not taken"},
		"data that nests":      {oneType, cloud("1", `,"data":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)), "nests deeper"},
		"much of attributes":   {oneType, cloud("1", `,"x":"`+strings.Repeat("x", 20_000)+`"`), "attributes of more than"},
		"too many":             {batchType, "[" + strings.Join(many, ",") + "]", "at most 1000 events"},
		"too long":             {oneType, cloud("1", `,"data":"`+strings.Repeat("x", maxEmitted)+`"`), "more than the 1048576 bytes"},
		"the second is bad":    {batchType, "[" + cloud("1", "") + "," + cloud("", "") + "]", `event 2 of the batch: attribute "id" must not be empty`},
		"a type of nobody":     {oneType, strings.Replace(cloud("1", ""), "leaf", "nobody", 1), `there is no function for type "nobody"`},
		"an account of dots":   {oneType, cloud("1", `,"partitionkey":".."`), "client_id"},
		"an id that is used":   {oneType, cloud("m0", ""), "was used for another payload, type or deliver_at"},
		"data of another type": {batchType, "[" + cloud("1", "") + "," + cloud("2", `,"data":"text"`) + "]", "payload"},
	} {
		t.Run(name, func(t *testing.T) {
			good := true
			e := engineOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if good {
					return
				}
				answering(c.contentType, func() string { return c.body })(w, r)
			}))
			e.Do(send("anna", "m0"))
			good = false
			e.Send(send("anna", "m1"))
			if said := e.Failed("anna").LastError; !strings.Contains(said, "the endpoint answered") || !strings.Contains(said, c.says) {
				t.Errorf("%s: %s", name, said)
			}
			if got := e.Query(`SELECT message_id FROM outbox WHERE type = 'leaf'`); len(got) != 0 {
				t.Errorf("emitted %v", got)
			}
		})
	}
}

func TestBinaryAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		headers, body string
		want          string
	}{
		"percent-encoding":            {"Ce-Id: a%20b|Ce-Source: /s%2Ft|Ce-Partitionkey: Anna%20M%C3%BCller", `{"x":1}`, `Anna Müller|a b|{"x":1}|/s/t`},
		"no data":                     {"Ce-Id: 1|Ce-Source: /s", ``, `anna|1|null|/s`},
		"a URI that isn't encoded":    {"Ce-Id: 1|Ce-Source: /a%20b", `null`, `anna|1|null|/a%20b`},
		"a quoted value":              {`Ce-Id: "a \"b\""|Ce-Source: /s`, ``, `anna|a "b"|null|/s`},
		"a % of its own":              {`Ce-Id: 100%|Ce-Source: /s`, ``, `anna|100%|null|/s`},
		"twice":                       {"Ce-Id: 1|Ce-Id: 2|Ce-Source: /s", ``, `must be given once`},
		"no source":                   {"Ce-Id: 1", ``, `attribute "source" is missing`},
		"data that isn't JSON":        {"Ce-Id: 1|Ce-Source: /s", `<x>`, `data: is not valid JSON`},
		"a datacontenttype of theirs": {"Ce-Id: 1|Ce-Source: /s|Ce-Datacontenttype: text/plain", ``, `datacontenttype as Content-Type`},
	} {
		h := http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"leaf"}}
		for line := range strings.SplitSeq(c.headers, "|") {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		events, err := decodeEmitted(modeOf(h), h, []byte(c.body), functions.Event{ClientID: "anna"})
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var attrs struct{ Source string }
		if err := json.Unmarshal(events[0].Attrs, &attrs); err != nil {
			t.Fatal(err)
		}
		if got := events[0].ClientID + "|" + events[0].MessageID + "|" + string(events[0].Payload) + "|" + attrs.Source; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
