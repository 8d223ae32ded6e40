package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"inturn/functions"
)

func decode(body string) (functions.Event, error) {
	e := newEnvelope()
	defer e.free()
	e.body.WriteString(body)
	return e.event("")
}

func TestEnvelopeTakes(t *testing.T) {
	deepest := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	tests := []struct{ body, client, message, kind, payload string }{
		{`{"client_id":"a","message_id":"1","payload":{}}`, "a", "1", "", `{}`},
		{" \r\n\t{\"payload\" : [ 1 , \"a \\\" b\\\\\" , { } ] , \"type\":\"x\",\"message_id\":\"1\",\"client_id\":\"a\"}\n ", "a", "1", "x", `[1,"a \" b\\",{}]`},
		{`{"client\u005fid":"\u0061\ud83d\ude00","message_id":"1","payload":null}`, "a😀", "1", "", `null`},
		{`{"client_id":"a","message_id":"1","payload":123456789012345678901234567890.10e+400}`, "a", "1", "", `123456789012345678901234567890.10e+400`},
		{`{"client_id":"a","message_id":"1","payload":"\u003c\u2028<"}`, "a", "1", "", `"\u003c\u2028<"`},
		{`{"client_id":"a","message_id":"1","payload":` + deepest + `}`, "a", "1", "", deepest},
	}
	for _, tt := range tests {
		ev, err := decode(tt.body)
		if err != nil || ev.ClientID != tt.client || ev.MessageID != tt.message || ev.Type != tt.kind || string(ev.Payload) != tt.payload {
			t.Errorf("%.100s: %+v, payload %s, %v", tt.body, ev, ev.Payload, err)
		}
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	with := func(payload string) string {
		return `{"client_id":"a","message_id":"1","payload":` + payload + `}`
	}
	tests := []struct {
		name, body string
		pointers   string
		says       string
	}{
		{"empty", ``, "#", "empty"},
		{"white space", " \n", "#", "empty"},
		{"a string", `"x"`, "#", "not a string"},
		{"null", `null`, "#", "not null"},
		{"an array", `[]`, "#", "not an array"},
		{"not JSON", `client_id=a`, "#", "not valid JSON"},
		{"byte order mark", "\ufeff" + with(`1`), "#", "not valid JSON"},
		{"cut short", `{"client_id":"a","message_id":"1","payload":{"x":`, "#/payload/x", "ends too early"},
		{"cut short at once", `{`, "#", "ends too early"},
		{"nothing but braces", `{}`, "#/client_id #/message_id #/payload", "missing"},
		{"no payload", `{"client_id":"a","message_id":"1"}`, "#/payload", "missing"},
		{"no ids", `{"payload":1}`, "#/client_id #/message_id", "missing"},
		{"other case", `{"Client_ID":"a","message_id":"1","payload":1}`, "#/Client_ID", "not a field"},
		{"unknown field", `{"client_id":"a","message_id":"1","payload":1,"a/b~ c":1}`, "#/a~1b~0%20c", "not a field"},
		{"very long unknown field", `{"` + strings.Repeat("x", 5000) + `":1}`, "#", "not a field"},
		{"doubled field", `{"client_id":"a","client_id":"a","message_id":"1","payload":1}`, "#/client_id", "twice"},
		{"doubled by escapes", `{"client_id":"a","client\u005fid":"b","message_id":"1","payload":1}`, "#/client_id", "twice"},
		{"doubled in payload", with(`{"x":[{"y":1,"y":1}]}`), "#/payload/x/0/y", "twice"},
		{"doubled in payload by escapes", with(`{"é":1,"\u00e9":1}`), "#/payload/%C3%A9", "twice"},
		{"something after", with(`1`) + ` {}`, "#", "goes on"},
		{"a letter after", with(`1`) + `x`, "#", "goes on"},
		{"comma at the end", `{"client_id":"a","message_id":"1","payload":1,}`, "#", "not valid JSON"},
		{"comment", with(`1/**/`), "#", "not valid JSON"},
		{"invalid UTF-8", "{\"client_id\":\"a\xff\",\"message_id\":\"1\",\"payload\":1}", "#/client_id", "UTF-8"},
		{"invalid UTF-8 in payload", with("{\"x\":\"\xc0\xaf\"}"), "#/payload/x", "UTF-8"},
		{"invalid UTF-8 in a name", with("{\"\xff\":1}"), "#/payload", "UTF-8"},
		{"lone surrogate", `{"client_id":"\ud800","message_id":"1","payload":1}`, "#/client_id", "surrogate"},
		{"lone surrogate in payload", with(`{"x":["\udc00x"]}`), "#/payload/x/0", "surrogate"},
		{"lone surrogate in a name", with(`{"\ud800":1}`), "#/payload", "surrogate"},
		{"control character", with("\"\n\""), "#/payload", "not valid JSON"},
		{"leading zero", with(`01`), "#", "not valid JSON"},
		{"NaN", with(`NaN`), "#/payload", "not valid JSON"},
		{"too deep", with(strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)), "#/payload", "deeper"},
		{"far too deep", with(strings.Repeat(`{"x":`, 20000) + `1` + strings.Repeat("}", 20000)), "*", ""},
		{"client_id of another kind", `{"client_id":{},"message_id":"1","payload":1}`, "#/client_id", "not an object"},
		{"message_id of another kind", `{"client_id":"a","message_id":17,"payload":1}`, "#/message_id", "not a number"},
		{"type of another kind", `{"client_id":"a","message_id":"1","type":true,"payload":1}`, "#/type", "not a boolean"},
	}
	for _, tt := range tests {
		_, err := decode(tt.body)
		p, ok := errors.AsType[*problem](err)
		if !ok || p.name != "invalid-event" {
			t.Errorf("%s: got %v", tt.name, err)
			continue
		}
		var pointers []string
		for _, f := range p.fields {
			pointers = append(pointers, f.Pointer)
		}
		if got := strings.Join(pointers, " "); got != tt.pointers && tt.pointers != "*" {
			t.Errorf("%s: pointers %s, want %s", tt.name, got, tt.pointers)
		}
		if len(p.fields) == 0 || !strings.Contains(p.fields[0].Detail, tt.says) {
			t.Errorf("%s: says %+v, want %q", tt.name, p.fields, tt.says)
		}
		if n := len(p.json("x")); n > 4000 {
			t.Errorf("%s: the answer has %d bytes", tt.name, n)
		}
	}
}

// A payload that shared the pooled buffer would change under the next request.
func TestEventsDoNotAliasTheEnvelope(t *testing.T) {
	e := newEnvelope()
	e.body.WriteString(goodEvent)
	ev, err := e.event("")
	if err != nil {
		t.Fatal(err)
	}
	want := string(ev.Payload)
	e.body.Reset()
	e.body.WriteString(strings.Repeat("#", 2*len(goodEvent)))
	if string(ev.Payload) != want || ev.ClientID != "a" || ev.MessageID != "1" {
		t.Errorf("the event changed: %+v %s", ev, ev.Payload)
	}
	large := newEnvelope()
	large.body.Grow(1 << 20)
	large.free()
	for range 10 {
		if newEnvelope() == large {
			t.Error("a large buffer is kept")
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		goodEvent, `{}`, `[]`, ``, `{"client_id":"a","message_id":"1","type":"x","payload":[ 1 , {"a":"\\\" \ud83d\ude00"} ]} `,
		`{"client_id":"a","client\u005fid":"b","message_id":"1","payload":1}`, `{"client_id":"\ud800","message_id":"1","payload":1}`,
		`{"client_id":"a","message_id":"1","payload":{"a":1,"\u0061":2}}`, "{\"client_id\":\"a\xff\",\"message_id\":\"1\",\"payload\":1}",
		`{"client_id":"a","message_id":"1","payload":1e400}x`, `{"client_id":"a","message_id":"1","payload":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ev, err := decode(string(body))
		if err != nil {
			p, ok := errors.AsType[*problem](err)
			if !ok || len(p.fields) == 0 {
				t.Fatalf("refused without a field: %v", err)
			}
			for _, fp := range p.fields {
				if !strings.HasPrefix(fp.Pointer, "#") || fp.Detail == "" || len(fp.Pointer) > 4*maxPointer {
					t.Fatalf("pointer %q, detail %q", fp.Pointer, fp.Detail)
				}
			}
			if !json.Valid(p.json("x")) {
				t.Fatalf("the answer is not JSON: %s", p.json("x"))
			}
			return
		}
		var v1 struct {
			ClientID  string          `json:"client_id"`
			MessageID string          `json:"message_id"`
			Type      string          `json:"type"`
			Payload   json.RawMessage `json:"payload"`
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&v1); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if v1.ClientID != ev.ClientID || v1.MessageID != ev.MessageID || v1.Type != ev.Type {
			t.Fatalf("got %+v, encoding/json has %+v", ev, v1)
		}
		var compacted bytes.Buffer
		if err := json.Compact(&compacted, v1.Payload); err != nil || !bytes.Equal(compacted.Bytes(), ev.Payload) {
			t.Fatalf("payload %s, encoding/json has %s (%v)", ev.Payload, compacted.Bytes(), err)
		}
	})
}
