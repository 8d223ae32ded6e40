package webhook

import (
	"encoding/json"
	"testing"
	"time"

	"inturn/functions"
)

// Another inturn that takes the event gives it the same identity: by its
// partitionkey, with source and id as message_id, else by source and id.
func TestIdentityIsHandedOn(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for _, c := range []struct {
		client, message, attrs string
		want                   string
	}{
		{"anna", "m1", ``, `{"specversion":"1.0","id":"m1","source":"anna","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","data":7}`},
		{"/shop", "1", `{"specversion":"1.0","id":"1","source":"/shop","subject":"s","dataschema":"x","weight":3,"rush":true}`,
			`{"specversion":"1.0","id":"1","source":"/shop","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","subject":"s","dataschema":"x","weight":3,"rush":true,"data":7}`},
		{"anna", "/shop 1", `{"id":"1","source":"/shop","partitionkey":"anna","time":"2020-01-01T00:00:00Z","datacontenttype":"application/x+json"}`,
			`{"specversion":"1.0","id":"1","source":"/shop","type":"t","partitionkey":"anna","time":"2020-01-01T00:00:00Z","datacontenttype":"application/x+json","data":7}`},
		// Attributes that name another event, as an emitted one may have them.
		{"bert", "m1", `{"id":"1","source":"/shop","partitionkey":"anna","subject":"s"}`,
			`{"specversion":"1.0","id":"m1","source":"bert","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","subject":"s","data":7}`},
		{"anna", "2", `{"id":"1","source":"anna"}`,
			`{"specversion":"1.0","id":"2","source":"anna","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","data":7}`},
		// What no attribute can be is left out.
		{"anna", "m1", `{"type":"x","data":"x","data_base64":"x","Big":"x","a-b":"x","list":[1],"none":null,"time":5,"specversion":"9"}`,
			`{"specversion":"1.0","id":"m1","source":"anna","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","data":7}`},
		{"a\"\\\u2028<я", "m 1", ``, `{"specversion":"1.0","id":"m 1","source":"a\"\\` + "\u2028" + `<я","type":"t","time":"2026-11-22T01:02:03Z","datacontenttype":"application/json","data":7}`},
	} {
		ev := functions.Event{ClientID: c.client, MessageID: c.message, Type: "t", Payload: []byte("7"), Attrs: []byte(c.attrs), ReceivedAt: at}
		got, _, err := encode(ev)
		if err != nil || string(got) != c.want {
			t.Errorf("%s\ngives %s, %v\nwant  %s", c.attrs, got, err, c.want)
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
			SpecVersion, ID, Source, Type, Time string
			Data                                map[string]int
		}
		if err := json.Unmarshal(b, &got); err != nil || got.SpecVersion != "1.0" || got.Type != "t" || got.Time == "" || got.Data["a"] != 1 {
			t.Fatalf("%s: %v", b, err)
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
