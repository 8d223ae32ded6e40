package webhook

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"inturn/functions"
	rules "inturn/functions/cloudevents"
)

// Another inturn that takes the event gives it the same identity, the SDK takes it too,
// and what came as a CloudEvent goes on as it came.
func TestIdentityIsHandedOn(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	const ours = `"time":"2026-11-22T01:02:03Z","datacontenttype":"application/json",`
	for _, c := range []struct {
		client, message, attrs, data string
		want                         string // without its beginning and type
	}{
		{"anna", "m1", ``, `7`, `"id":"m1","source":"anna","partitionkey":"anna",` + ours + `"data":7`},
		{"/shop", "1", `{"specversion":"1.0","id":"1","source":"/shop","subject":"s","dataschema":"urn:x:y","weight":3,"rush":true}`, `7`,
			`"id":"1","source":"/shop","partitionkey":"/shop","subject":"s","dataschema":"urn:x:y","weight":3,"rush":true,"data":7`},
		{"anna", "/shop 1", `{"id":"1","source":"/shop","partitionkey":"anna","time":"2020-01-01T00:00:00Z","datacontenttype":"text/json"}`, `7`,
			`"id":"1","source":"/shop","partitionkey":"anna","time":"2020-01-01T00:00:00Z","datacontenttype":"text/json","data":7`},
		// A client_id that is no URI-reference.
		{"42:7", "m1", ``, `7`, `"id":"m1","source":"urn:inturn:account:42%3A7","partitionkey":"42:7",` + ours + `"data":7`},
		{"a%b", "m1", ``, `7`, `"id":"m1","source":"urn:inturn:account:a%25b","partitionkey":"a%b",` + ours + `"data":7`},
		{"Anna Müller", "m1", ``, `7`, `"id":"m1","source":"urn:inturn:account:Anna%20M%C3%BCller","partitionkey":"Anna Müller",` + ours + `"data":7`},
		{"a\"\\\u2028<я", "m 1", ``, `7`, `"id":"m 1","source":"urn:inturn:account:a%22%5C%E2%80%A8%3C%D1%8F","partitionkey":"a\"\\` + "\u2028" + `<я",` + ours + `"data":7`},
		{"42:7", "1", `{"id":"1","source":"urn:inturn:account:42%3A7","partitionkey":"42:7"}`, `7`,
			`"id":"1","source":"urn:inturn:account:42%3A7","partitionkey":"42:7","data":7`},
		// As the door took them before it looked at sources.
		{"42:7", "1", `{"id":"1","source":"42:7"}`, `7`, `"id":"1","source":"urn:inturn:account:42%3A7","partitionkey":"42:7",` + ours + `"data":7`},
		{"anna", "anna 1", `{"id":"1","source":"anna","partitionkey":"anna"}`, `7`, `"id":"anna 1","source":"anna","partitionkey":"anna",` + ours + `"data":7`},
		// No data stays none; null in a plain event is its payload.
		{"/shop", "1", `{"id":"1","source":"/shop"}`, `null`, `"id":"1","source":"/shop","partitionkey":"/shop"`},
		{"anna", "m1", ``, `null`, `"id":"m1","source":"anna","partitionkey":"anna",` + ours + `"data":null`},
		// Attributes that name another event, as an emitted one may have them.
		{"bert", "m1", `{"id":"1","source":"/shop","partitionkey":"anna","subject":"s"}`, `7`, `"id":"m1","source":"bert","partitionkey":"bert",` + ours + `"subject":"s","data":7`},
		{"anna", "2", `{"id":"1","source":"anna"}`, `7`, `"id":"2","source":"anna","partitionkey":"anna",` + ours + `"data":7`},
		// What no attribute can be is left out.
		{"anna", "m1", `{"type":"x","data":"x","data_base64":"x","Big":"x","a-b":"x","list":[1],"none":null,"time":5,"specversion":"9","half":0.5,"huge":2147483648,"control":"\u0000"}`, `7`,
			`"id":"m1","source":"anna","partitionkey":"anna",` + ours + `"data":7`},
		{"anna", "m1", `{"time":"yesterday","datacontenttype":"json","dataschema":"x","subject":""}`, `7`, `"id":"m1","source":"anna","partitionkey":"anna",` + ours + `"data":7`},
	} {
		ev := functions.Event{ClientID: c.client, MessageID: c.message, Type: "t", Payload: []byte(c.data), Attrs: []byte(c.attrs), ReceivedAt: at}
		got, _, err := encode(ev)
		want := strings.Replace(`{"specversion":"1.0",`+c.want+`}`, `"partitionkey"`, `"type":"t","partitionkey"`, 1)
		if err != nil || string(got) != want {
			t.Errorf("%s %s\ngives %s, %v\nwant  %s", c.client, c.attrs, got, err, want)
			continue
		}
		e := cloudevents.NewEvent()
		if err := e.UnmarshalJSON(got); err != nil {
			t.Errorf("the SDK refuses %s: %v", got, err)
		} else if err := e.Validate(); err != nil {
			t.Errorf("the SDK refuses %s: %v", got, err)
		} else if client, message := rules.Identity(e.Source(), e.ID(), c.client, true); client != c.client || message != c.message || e.Extensions()["partitionkey"] != c.client {
			t.Errorf("%s becomes %q, %q", got, client, message)
		}
	}
	for _, attrs := range []string{`[]`, `{`, `{"a":"b"`, `{"a":"1","a":"2"}`, `x`} {
		if _, _, err := encode(functions.Event{Attrs: []byte(attrs), Payload: []byte("7")}); err == nil {
			t.Errorf("%s are taken for attributes", attrs)
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("anna", "m1", `{"traceparent":"x","n":1}`)
	f.Add("a\xff", "/s 1", `{"id":"1","source":"/s","partitionkey":"a"}`)
	f.Fuzz(func(t *testing.T, client, message, attrs string) {
		if !json.Valid([]byte(attrs)) {
			attrs = "{}"
		}
		b, tr, err := encode(functions.Event{ClientID: client, MessageID: message, Type: "t", Payload: []byte(`{"a":1}`), Attrs: []byte(attrs)})
		if err != nil {
			return
		}
		var got struct {
			SpecVersion, ID, Source, Type, PartitionKey string
			Data                                        map[string]int
		}
		if err := json.Unmarshal(b, &got); err != nil || got.SpecVersion != "1.0" || got.Type != "t" || got.Data["a"] != 1 || !rules.URIReference(got.Source) {
			t.Fatalf("%s: %v", b, err)
		}
		if !utf8.ValidString(client) || !utf8.ValidString(message) || client == "" || strings.TrimSpace(message) == "" {
			return // the door lets nobody send them; of blanks alone the SDK thinks more strictly than the specification
		}
		if c, m := rules.Identity(got.Source, got.ID, got.PartitionKey, true); c != client || m != message {
			t.Fatalf("%s becomes %q, %q", b, c, m)
		}
		e := cloudevents.NewEvent()
		if err := e.UnmarshalJSON(b); err != nil || e.Validate() != nil {
			t.Fatalf("the SDK refuses %s: %v, %v", b, err, e.Validate())
		}
		for _, value := range []string{tr.parent, tr.state} {
			if value != "" && !visible(value, 512) {
				t.Fatalf("%q can't be a header", value)
			}
		}
	})
}

func TestTrace(t *testing.T) {
	for attrs, want := range map[string]trace{
		`{"traceparent":"00-a","tracestate":"k=v"}`:       {"00-a", "k=v"},
		`{"tracestate":"k=v"}`:                            {},
		`{"traceparent":"a\r\nX: y","tracestate":"k=v"}`:  {},
		`{"traceparent":"00-a","tracestate":"k=v\u0000"}`: {"00-a", ""},
		`{"traceparent":7}`:                               {},
	} {
		if _, got, err := encode(functions.Event{Attrs: []byte(attrs), Payload: []byte("7")}); got != want || err != nil {
			t.Errorf("%s: %q, %v", attrs, got, err)
		}
	}
}

func TestDeliveryIDs(t *testing.T) {
	seen := map[string]functions.Event{}
	for _, ev := range []functions.Event{
		{ClientID: "a", MessageID: "b", Run: 1}, {ClientID: "a", MessageID: "b", Run: 2}, {ClientID: "ab", MessageID: "", Run: 1}, {ClientID: "", MessageID: "ab", Run: 1},
		{ClientID: "a", MessageID: "b1", Run: 1}, {ClientID: "a", MessageID: "b", Run: 11}, {ClientID: "a1", MessageID: "b", Run: 1}, {ClientID: "b", MessageID: "a", Run: 1},
	} {
		id := deliveryID(ev)
		if other, ok := seen[id]; ok {
			t.Errorf("%+v and %+v have the same id", ev, other)
		}
		seen[id] = ev
		ev.Attempt, ev.Seq, ev.Position = 7, 8, 9
		if deliveryID(ev) != id {
			t.Errorf("%+v: the id changes with the attempt", ev)
		}
	}
}
