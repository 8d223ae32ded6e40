package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"inturn/db"
	ce "inturn/functions/cloudevents"
)

func postCloud(h http.Handler, body string, headers ...string) (int, string, func(testing.TB, int, string) wireProblem) {
	w := request(h, "POST", "/v1/events", body, append([]string{"Content-Type", typeCloud}, headers...)...)
	return w.Code, w.Body.String(), func(t testing.TB, status int, name string) wireProblem { return wantProblem(t, w, status, name) }
}

func TestCloudEventsAreEvents(t *testing.T) {
	trace := "00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01"
	other := strings.Replace(trace, "ab", "12", 1)
	for _, tt := range []struct {
		name, body             string
		client, message        string
		payload, attrs         string
		requestTrace, mediaTyp string
	}{
		{"source names the account", `{"specversion":"1.0","id":"1","source":"/shop","type":"any","data":{"x": 1}}`,
			"/shop", "1", `{"x":1}`, `{"specversion":"1.0","id":"1","source":"/shop"}`, "", typeCloud},
		{"partitionkey names it", `{"specversion":"1.0","id":"1","source":"/shop","type":"any","partitionkey":"anna","data":[]}`,
			"anna", "/shop 1", `[]`, `{"specversion":"1.0","id":"1","source":"/shop","partitionkey":"anna"}`, "", typeCloud + "; charset=UTF-8"},
		{"all other attributes are kept", `{ "data":"x", "time":"2026-01-01T00:00:00Z","flag":true,"count":-7,"none":null,"ext1":"é","subject":"s","dataschema":"d:","datacontenttype":"text/plain","type":"any","source":"s","id":"1","specversion":"1.0"}`,
			"s", "1", `"x"`, `{"time":"2026-01-01T00:00:00Z","flag":true,"count":-7,"ext1":"é","subject":"s","dataschema":"d:","datacontenttype":"text/plain","source":"s","id":"1","specversion":"1.0"}`, "", typeCloud},
		{"without data", `{"specversion":"1.0","id":"1","source":"s","type":"any"}`, "s", "1", `null`, `{"specversion":"1.0","id":"1","source":"s"}`, "", typeCloud},
		{"traceparent of the request", `{"specversion":"1.0","id":"1","source":"s","type":"any"}`, "s", "1", `null`, `{"specversion":"1.0","id":"1","source":"s","traceparent":"` + trace + `"}`, trace, typeCloud},
		{"traceparent of the event", `{"specversion":"1.0","id":"1","source":"s","traceparent":"` + other + `","type":"any"}`, "s", "1", `null`, `{"specversion":"1.0","id":"1","source":"s","traceparent":"` + other + `"}`, trace, typeCloud},
	} {
		s := &fakeStore{}
		headers := []string{"Content-Type", tt.mediaTyp}
		if tt.requestTrace != "" {
			headers = append(headers, "Traceparent", tt.requestTrace)
		}
		w := request(newAPI(t, Options{Store: s}), "POST", "/v1/events", tt.body, headers...)
		if w.Code != 202 {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
			continue
		}
		ev := s.events[0]
		if ev.ClientID != tt.client || ev.MessageID != tt.message || ev.Type != "any" || string(ev.Payload) != tt.payload || string(ev.Attrs) != tt.attrs {
			t.Errorf("%s: %+v\npayload %s\nattrs %s", tt.name, ev.Event, ev.Payload, ev.Attrs)
		}
		if !json.Valid(ev.Attrs) {
			t.Errorf("%s: attrs are not JSON: %s", tt.name, ev.Attrs)
		}
	}
}

func TestCloudEventsThatAreRefused(t *testing.T) {
	with := func(more string) string {
		return `{"specversion":"1.0","id":"1","source":"s","type":"any"` + more + `}`
	}
	without := func(name string) string {
		fields := map[string]string{"specversion": `"1.0"`, "id": `"1"`, "source": `"s"`, "type": `"any"`}
		delete(fields, name)
		var all []string
		for k, v := range fields {
			all = append(all, `"`+k+`":`+v)
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	for _, tt := range []struct {
		name, body string
		status     int
		problem    string
		pointer    string
	}{
		{"no JSON", "x", 400, "invalid-event", "#"},
		{"an array", "[" + with("") + "]", 400, "invalid-event", "#"},
		{"cut off", with("")[:20], 400, "invalid-event", "#"},
		{"something after it", with("") + "x", 400, "invalid-event", "#"},
		{"a doubled attribute", with(`,"id":"2"`), 400, "invalid-event", "#/id"},
		{"a doubled name in data", with(`,"data":{"a":1,"a":2}`), 400, "invalid-event", "#/data/a"},
		{"data too deep", with(`,"data":` + strings.Repeat("[", 65) + strings.Repeat("]", 65)), 400, "invalid-event", "#/data"},
		{"no specversion", without("specversion"), 400, "invalid-event", "#/specversion"},
		{"no id", without("id"), 400, "invalid-event", "#/id"},
		{"no source", without("source"), 400, "invalid-event", "#/source"},
		{"no type", without("type"), 400, "invalid-event", "#/type"},
		{"another specversion", strings.Replace(with(""), "1.0", "0.3", 1), 400, "invalid-event", "#/specversion"},
		{"id is a number", strings.Replace(with(""), `"1"`, `1`, 1), 400, "invalid-event", "#/id"},
		{"an empty partitionkey", with(`,"partitionkey":""`), 400, "invalid-event", "#/partitionkey"},
		{"an attribute that is an object", with(`,"x":{}`), 400, "invalid-event", "#/x"},
		{"an attribute that is a fraction", with(`,"x":1.5`), 400, "invalid-event", "#/x"},
		{"a large number", with(`,"x":3000000000`), 400, "invalid-event", "#/x"},
		{"a name in capitals", with(`,"X":"1"`), 400, "invalid-event", "#/X"},
		{"an empty name", with(`,"":"1"`), 400, "invalid-event", "#/"},
		{"attributes without end", with(`,"x":"` + strings.Repeat("y", maxAttrs) + `"`), 400, "invalid-event", "#"},
		{"a source that is no URI-reference", strings.Replace(with(""), `"s"`, `"Anna Müller"`, 1), 400, "invalid-event", "#/source"},
		{"a time that is none", with(`,"time":"2026-11-30"`), 400, "invalid-event", "#/time"},
		{"a dataschema without a scheme", with(`,"dataschema":"/x"`), 400, "invalid-event", "#/dataschema"},
		{"an empty dataschema", with(`,"dataschema":""`), 400, "invalid-event", "#/dataschema"},
		{"a datacontenttype that is none", with(`,"datacontenttype":"json"`), 400, "invalid-event", "#/datacontenttype"},
		{"an empty subject", with(`,"subject":""`), 400, "invalid-event", "#/subject"},
		{"a control character", with(`,"ext":"\u0007"`), 400, "invalid-event", "#/ext"},
		{"data_base64", with(`,"data_base64":"AA=="`), 415, "unsupported-media-type", ""},
		{"a type without a function", strings.Replace(with(""), "any", "none", 1), 400, "invalid-event", "#/type"},
		{"a source that is no client_id", strings.Replace(with(""), `"s"`, `"`+strings.Repeat("s", 257)+`"`, 1), 400, "invalid-event", "#/source"},
		{"a partitionkey that is no client_id", with(`,"partitionkey":".."`), 400, "invalid-event", "#/partitionkey"},
		{"an id that is no message_id", strings.Replace(with(""), `"1"`, `"\u0001"`, 1), 400, "invalid-event", "#/id"},
		{"data that its function refuses", strings.Replace(with(`,"data":{"phone":"7"}`), `"any"`, `"message"`, 1), 400, "invalid-event", "#/data/phone"},
	} {
		s := &fakeStore{}
		status, body, want := postCloud(newAPI(t, Options{Store: s}), tt.body)
		if status != tt.status {
			t.Errorf("%s: %d %s", tt.name, status, body)
			continue
		}
		p := want(t, tt.status, tt.problem)
		pointer := ""
		if len(p.Errors) > 0 {
			pointer = p.Errors[0].Pointer
		}
		if pointer != tt.pointer || len(s.events) > 0 {
			t.Errorf("%s: at %q, want %q: %s", tt.name, pointer, tt.pointer, body)
		}
	}
}

func TestCloudEventsInBinaryMode(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		body    string
		want    string // client message payload, or the problem
		attrs   string
	}{
		{"plain", []string{"Ce-Source", "/s"}, `{"x": 1}`, `/s 1 {"x":1}`, `{"id":"1","source":"/s","specversion":"1.0","datacontenttype":"application/json"}`},
		{"partitionkey", []string{"Ce-Source", "/s", "Ce-Partitionkey", "anna"}, `[]`, `anna /s 1 []`, `{"id":"1","partitionkey":"anna","source":"/s","specversion":"1.0","datacontenttype":"application/json"}`},
		{"no data", []string{"Ce-Source", "/s"}, ``, `/s 1 null`, `{"id":"1","source":"/s","specversion":"1.0"}`},
		{"percent-encoding", []string{"Ce-Source", "/%E2%82%AC%20%22", "Ce-Ext", `"quoted \"%25\""`}, `1`, `/%E2%82%AC%20%22 1 1`, `{"ext":"quoted \"%\"","id":"1","source":"/%E2%82%AC%20%22","specversion":"1.0","datacontenttype":"application/json"}`},
		{"percent that is none", []string{"Ce-Source", "s", "Ce-Ext", "%zz%4"}, `1`, `s 1 1`, `{"ext":"%zz%4","id":"1","source":"s","specversion":"1.0","datacontenttype":"application/json"}`},
		{"another JSON", []string{"Ce-Source", "s", "Content-Type", "application/vnd.x+json; v=1"}, `1`, `s 1 1`, `{"id":"1","source":"s","specversion":"1.0","datacontenttype":"application/vnd.x+json; v=1"}`},
		{"no media type", []string{"Ce-Source", "s", "Content-Type", ""}, `1`, `s 1 1`, `{"id":"1","source":"s","specversion":"1.0"}`},
		{"text", []string{"Ce-Source", "s", "Content-Type", "text/plain"}, `1`, `415 unsupported-media-type`, ``},
		{"no JSON", []string{"Ce-Source", "s"}, `x`, `400 invalid-event #/data`, ``},
		{"no source", nil, `1`, `400 invalid-event #/source`, ``},
		{"given twice", []string{"Ce-Source", "s", "Ce-Source", "s"}, `1`, `400 invalid-event #/source`, ``},
		{"datacontenttype as a header", []string{"Ce-Source", "s", "Ce-Datacontenttype", "application/json"}, `1`, `400 invalid-event #/datacontenttype`, ``},
		{"a name that is none", []string{"Ce-Source", "s", "Ce-A-B", "1"}, `1`, `400 invalid-event #/a-b`, ``},
		{"a URI that its sender didn't encode", []string{"Ce-Source", "https://h/a%20b"}, `1`, `https://h/a%20b 1 1`, `{"id":"1","source":"https://h/a%20b","specversion":"1.0","datacontenttype":"application/json"}`},
		{"a URI that its sender encoded", []string{"Ce-Source", "https://h/a%2520b"}, `1`, `https://h/a%20b 1 1`, `{"id":"1","source":"https://h/a%20b","specversion":"1.0","datacontenttype":"application/json"}`},
		{"a source that is no URI-reference", []string{"Ce-Source", "42:7"}, `1`, `400 invalid-event #/source`, ``},
		{"not UTF-8", []string{"Ce-Source", "s", "Ce-Ext", "\xff"}, `1`, `400 invalid-event #/ext`, ``},
		{"data as a header", []string{"Ce-Source", "s", "Ce-Data", "1"}, `1`, `400 invalid-event #/data`, ``},
		{"a time that is none", []string{"Ce-Source", "s", "Ce-Time", "yesterday"}, `1`, `400 invalid-event #/time`, ``},
		{"a key that is another id", []string{"Ce-Source", "s", "Idempotency-Key", `"2"`}, `1`, `400 invalid-event #/id`, ``},
		{"a key that is the id", []string{"Ce-Source", "s", "Ce-Partitionkey", "k", "Idempotency-Key", `"1"`}, `1`, `k s 1 1`, `{"id":"1","partitionkey":"k","source":"s","specversion":"1.0","datacontenttype":"application/json"}`},
	} {
		s := &fakeStore{}
		headers := append([]string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Type", "any"}, tt.headers...)
		if !strings.Contains(strings.Join(tt.headers, " "), "Content-Type") {
			headers = append(headers, "Content-Type", "application/json")
		}
		w := request(newAPI(t, Options{Store: s}), "POST", "/v1/events", tt.body, headers...)
		var got string
		switch w.Code {
		case 202:
			ev := s.events[0]
			got = fmt.Sprintf("%s %s %s", ev.ClientID, ev.MessageID, ev.Payload)
			if string(ev.Attrs) != tt.attrs {
				t.Errorf("%s: attrs %s, want %s", tt.name, ev.Attrs, tt.attrs)
			}
		default:
			var e entry
			_ = json.Unmarshal(w.Body.Bytes(), &e)
			got = e.said()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestABatchOfCloudEvents(t *testing.T) {
	event := func(more string) string { return `{"specversion":"1.0","type":"any",` + more + `}` }
	h := newAPI(t, Options{})
	got := postBatchOf(t, h, "/v1/events", "["+strings.Join([]string{
		event(`"id":"1","source":"s"`), event(`"id":"1","source":"s","partitionkey":"k"`),
		event(`"id":"2","source":"s","partitionkey":"k","X":"1"`), event(`"id":"3","source":"s","partitionkey":"k"`), event(`"id":"2","source":"s"`),
		event(`"id":"4","source":"s","data_base64":""`), event(`"id":"5","source":"s"`),
		event(`"id":"6","source":7`), event(`"id":"7","source":"t"`),
	}, ",")+"]", "Content-Type", typeCloudBatch)
	want := "202 s/1 1 pending\n202 k/s 1 2 pending\n400 invalid-event #/X\n424 not-attempted\n202 s/2 3 pending\n" +
		"415 unsupported-media-type\n424 not-attempted\n400 invalid-event #/source\n424 not-attempted"
	if said(got.Results) != want {
		t.Errorf("got\n%s\nwant\n%s", said(got.Results), want)
	}
	wantProblem(t, request(h, "POST", "/v1/events", event(`"id":"1","source":"s"`), "Content-Type", typeCloudBatch), 400, "invalid-event")
}

// The SDK of the CloudEvents project sends in all three modes.
func TestTheSDKOfCloudEvents(t *testing.T) {
	s := &fakeStore{}
	addr := serve(t, Server(newAPI(t, Options{Store: s}), nil, nil), 0)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	target := "http://" + addr + "/v1/events"
	sdk := func(id string) event.Event {
		e := cloudevents.NewEvent()
		e.SetID(id)
		e.SetSource("/sdk/orders")
		e.SetType("any")
		e.SetExtension("partitionkey", "anna")
		e.SetExtension("count", 7)
		if err := e.SetData(cloudevents.ApplicationJSON, map[string]string{"id": id}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	protocol, err := cloudevents.NewHTTP(cehttp.WithTarget(target), cehttp.WithRoundTripper(transport))
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloudevents.NewClient(protocol)
	if err != nil {
		t.Fatal(err)
	}
	for id, mode := range map[string]func(context.Context) context.Context{
		"binary": cloudevents.WithEncodingBinary, "structured": cloudevents.WithEncodingStructured,
	} {
		for _, want := range []int{202, 202} {
			err := client.Send(mode(t.Context()), sdk(id))
			var result *cehttp.Result
			if cloudevents.IsUndelivered(err) || !errors.As(err, &result) || result.StatusCode != want {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), target, []event.Event{sdk("batch1"), sdk("batch2")})
	if err != nil {
		t.Fatal(err)
	}
	w, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if w.StatusCode != 200 {
		t.Errorf("batch: %s", w.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := map[string]*db.StoredEvent{}
	for _, ev := range s.events {
		stored[ev.MessageID] = ev
	}
	for _, id := range []string{"binary", "structured", "batch1", "batch2"} {
		ev := stored["/sdk/orders "+id]
		if ev == nil {
			t.Errorf("%s: not stored; there are %d", id, len(s.events))
			continue
		}
		var attrs map[string]any
		if err := json.Unmarshal(ev.Attrs, &attrs); err != nil {
			t.Fatal(err)
		}
		if ev.ClientID != "anna" || ev.Type != "any" || string(ev.Payload) != `{"id":"`+id+`"}` || attrs["source"] != "/sdk/orders" || fmt.Sprint(attrs["count"]) != "7" {
			t.Errorf("%s: %+v %s", id, ev.Event, ev.Attrs)
		}
	}
	if len(s.events) != 4 {
		t.Errorf("%d events", len(s.events))
	}
}

func TestIdempotencyKeys(t *testing.T) {
	without := `{"client_id":"a","type":"any","payload":1}`
	for _, tt := range []struct {
		key, body string
		want      string
	}{
		{`"k-1"`, without, "202 a/k-1 1 pending"},
		{`"k-1"; x=1`, without, "202 a/k-1 1 pending"}, {`"k-1"; X=1`, without, "400 invalid-request"}, {`"k-1";`, without, "400 invalid-request"},
		{`:aw==:`, without, "400 invalid-request"}, {`1`, without, "400 invalid-request"}, {`?1`, without, "400 invalid-request"}, {`%"k"`, without, "400 invalid-request"},
		{`  "a \"b\\ c"  `, without, `202 a/a "b\ c 1 pending`},
		{`"1"`, small("a", "1"), "202 a/1 1 pending"},
		{`"2"`, small("a", "1"), "400 invalid-event #/message_id"},
		{`"1"`, strings.Replace(without, `"type"`, `"message_id":"","type"`, 1), "400 invalid-event #/message_id"},
		{`""`, without, "400 invalid-request"}, {`k-1`, without, "400 invalid-request"}, {`"k`, without, "400 invalid-request"}, {`"k"x`, without, "400 invalid-request"},
		{`"k", "l"`, without, "400 invalid-request"}, {`"\k"`, without, "400 invalid-request"}, {"\"k\u00fc\"", without, "400 invalid-request"}, {``, without, "400 invalid-request"}, {`"\`, without, "400 invalid-request"},
		{`".."`, without, "400 invalid-event #/message_id"},
	} {
		w := request(newAPI(t, Options{}), "POST", "/v1/events", tt.body, "Idempotency-Key", tt.key)
		var e entry
		_ = json.Unmarshal(w.Body.Bytes(), &e)
		if e.Status == 0 {
			e.Status = w.Code
		}
		if e.said() != tt.want || w.Code != e.Status {
			t.Errorf("%s with %s: %d %s, want %s", tt.key, tt.body, w.Code, e.said(), tt.want)
		}
	}
	w := request(newAPI(t, Options{}), "POST", "/v1/events", without, "Idempotency-Key", `"1"`, "Idempotency-Key", `"1"`)
	wantProblem(t, w, 400, "invalid-request")
}

func FuzzCloudEvent(f *testing.F) {
	for _, seed := range []string{
		`{"specversion":"1.0","id":"1","source":"s","type":"any","partitionkey":"k","data":{"a":[1,"\u00e9"]},"x":true,"y":-3,"z":null}`,
		`{"specversion":"1.0","id":"1","source":"s","type":"any","data_base64":"AA=="}`, `{"id":"1","id":"1"}`, `{`, `[]`, `{"X":1}`,
	} {
		f.Add([]byte(seed), "text%20x")
	}
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		e := newEnvelope()
		defer e.free()
		e.body.Write(body)
		var c cloudEvent
		err := e.cloudEvent(&c)
		if err == nil {
			ev, err := c.event([]byte(`{"traceparent":"t"}`))
			if err == nil {
				var attrs map[string]any
				if json.Unmarshal(ev.Attrs, &attrs) != nil || attrs["specversion"] != "1.0" || attrs["id"] == "" || !json.Valid(ev.Payload) {
					t.Fatalf("attrs %s, payload %s", ev.Attrs, ev.Payload)
				}
				if account, _ := identityIn(body, true); account != ev.ClientID {
					t.Fatalf("the account is %q, identityIn says %q", ev.ClientID, account)
				}
			}
		}
		if err := c.named(err); err != nil {
			if _, ok := errors.AsType[*problem](err); !ok {
				t.Fatalf("%v is no problem", err)
			}
		}
		if text := ce.HeaderText("x", header); checkAttribute("x", text) == nil {
			again := cloudEvent{}
			if again.attribute("x", text, appendText(nil, text)) == nil && !json.Valid(append(again.attrs, '}')) {
				t.Fatalf("%q makes %s", header, again.attrs)
			}
		}
	})
}
