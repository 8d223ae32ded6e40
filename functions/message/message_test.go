package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"inturn/functions"
	"inturn/functions/message/q"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const phone = "+70000000000"

func sample(client, id string) (functions.Event, Message) {
	ev := functions.Event{ClientID: client, MessageID: id, Type: "message", ReceivedAt: time.UnixMicro(1_700_000_000_000_000)}
	return ev, Message{Phone: phone, Text: "text of " + id}
}

func TestCheckNamesTheField(t *testing.T) {
	set, err := functions.NewSet(Function, Close)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("я", MaxText)
	for _, c := range []struct{ typ, payload, pointer string }{
		{"message", `{"phone":"+70000000001","text":"hi"}`, ""},
		{"message", `{"phone":"+1234567","text":"hi","from":"crm"}`, ""},
		{"message", `{"phone":"+123456789012345","text":"hi"}`, ""},
		{"message", `{"phone":"+70000000001","text":"` + long + `"}`, ""},
		{"message", `{"phone":"+70000000001","text":"` + long + `я"}`, "/payload/text"},
		{"message", `{"phone":"+70000000001","text":""}`, "/payload/text"},
		{"message", `{"phone":"+70000000001"}`, "/payload/text"},
		{"message", `{"phone":"+70000000001","text":null}`, "/payload/text"},
		{"message", `{"phone":"+70000000001","text":7}`, "/payload/text"},
		{"message", `{"phone":"+70000000001","text":"a\u0000b"}`, "/payload/text"},
		{"message", `{"phone":"+70000000001","Text":"hi"}`, "/payload/text"},
		{"message", `{"text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"70000000001","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"+123456","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"+1234567890123456","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"+7 000 000","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"+٧٧٧٧٧٧٧","text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":["+70000000001"],"text":"hi"}`, "/payload/phone"},
		{"message", `{"phone":"+70000000001","phone":"+70000000002","text":"hi"}`, "/payload/phone"},
		{"message", `[]`, "/payload"},
		{"message", `"hi"`, "/payload"},
		{"dialog.close", `{"phone":"+70000000001"}`, ""},
		{"dialog.close", `{}`, "/payload/phone"},
		{"dialog.close", `{"phone":"x"}`, "/payload/phone"},
	} {
		_, err := set.Check(functions.Event{ClientID: "c", MessageID: "m", Type: c.typ, Payload: []byte(c.payload)})
		if c.pointer == "" {
			if err != nil {
				t.Errorf("%s %.80s: %v", c.typ, c.payload, err)
			}
			if f, _ := set.Get(c.typ); !bySchema(t, f, c.payload) {
				t.Errorf("%s %.80s: its schema refuses what Check allows", c.typ, c.payload)
			}
			continue
		}
		if fe, ok := errors.AsType[*functions.FieldError](err); !ok || fe.Pointer != c.pointer || fe.Detail == "" {
			t.Errorf("%s %.80s: %v, want an error at %s", c.typ, c.payload, err, c.pointer)
		}
		if f, _ := set.Get(c.typ); bySchema(t, f, c.payload) && !strings.Contains(c.payload, "\\u0000") && !strings.Contains(c.payload, `,"phone"`) {
			t.Errorf("%s %.80s: its schema allows what Check refuses", c.typ, c.payload)
		}
	}
}

// bySchema reports whether a function's schema allows a payload.
func bySchema(t *testing.T, f functions.Function, payload string) bool {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(f.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("payload.json", schema); err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("payload.json").Validate(value) == nil
}

func TestFindsOrCreates(t *testing.T) {
	conn := openFile(t, tables)
	rows := q.New(conn)
	add := func(client, phone, id string) Written {
		t.Helper()
		ev, m := sample(client, id)
		m.Phone = phone
		w, err := write(t.Context(), rows, ev, m)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	end := func(client, phone string) *int64 {
		t.Helper()
		ev, _ := sample(client, "close")
		c, err := closeDialog(t.Context(), rows, ev, Closing{Phone: phone})
		if err != nil {
			t.Fatal(err)
		}
		return c.Dialog
	}
	for _, c := range []struct {
		what string
		got  Written
		want Written
	}{
		{"a first message creates all three", add("a", "+1111111", "m1"), Written{1, 1, 1}},
		{"a second one is added", add("a", "+1111111", "m2"), Written{1, 1, 2}},
		{"the same again is found", add("a", "+1111111", "m1"), Written{1, 1, 1}},
		{"the same phone elsewhere is another client", add("b", "+1111111", "m1"), Written{2, 2, 3}},
		{"another phone is another client", add("a", "+2222222", "m3"), Written{3, 3, 4}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, c.got, c.want)
		}
	}
	if d := end("a", "+1111111"); d == nil || *d != 1 {
		t.Errorf("closed dialog %v, want 1", d)
	}
	if d := end("a", "+1111111"); d != nil {
		t.Errorf("closed dialog %d, none was active", *d)
	}
	if d := end("nobody", "+1111111"); d != nil {
		t.Errorf("closed dialog %d of nobody", *d)
	}
	if got, want := add("a", "+1111111", "m4"), (Written{1, 4, 5}); got != want {
		t.Errorf("after the close: %+v, want %+v", got, want)
	}
	if got, want := add("b", "+1111111", "m2"), (Written{2, 2, 6}); got != want {
		t.Errorf("the other client's dialog: %+v, want %+v", got, want)
	}
	wantRows(t, conn, `SELECT id, client, active, opened_at, closed_at FROM dialogs`,
		"1 1 0 1700000000000000 1700000000000000", "2 2 1 1700000000000000 NULL",
		"3 3 1 1700000000000000 NULL", "4 1 1 1700000000000000 NULL")
	wantRows(t, conn, `SELECT text, received_at FROM messages WHERE id = 6`, "text of m2 1700000000000000")
}
