package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"inturn/functions"
	"inturn/functions/cloudevents"

	"github.com/go-json-experiment/json/jsontext"
)

// trace is what is handed on of W3C Trace Context.
type trace struct{ parent, state string }

// encode returns ev as a CloudEvent in its JSON format. An event that came as one goes
// on as it came, with its account's client_id as the partitionkey. Any other has
//
//	source          the client_id, or a URI-reference made of it: see cloudevents.Source
//	id              message_id
//	type            its type
//	partitionkey    client_id
//	time            when it was accepted, unless it came with one
//	data            the payload
//
// and all attributes it came with that CloudEvents allows. Another inturn that takes it
// gives it the same identity.
func encode(ev functions.Event) ([]byte, trace, error) {
	a, err := readAttributes(ev.Attrs)
	if err != nil {
		return nil, trace{}, fmt.Errorf("attributes: %w", err)
	}
	source, id := a.text["source"], a.text["id"]
	came := a.names(ev)
	if !came {
		source, id = cloudevents.Source(ev.ClientID), ev.MessageID
	}
	b := append(make([]byte, 0, len(ev.Payload)+len(ev.Attrs)+512), '{')
	set := func(name, value string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = appendText(b, name)
		b = append(b, ':')
		b = appendText(b, value)
	}
	set("specversion", "1.0")
	set("id", id)
	set("source", source)
	set("type", ev.Type)
	set("partitionkey", ev.ClientID)
	if _, ok := a.text["time"]; !ok && !came {
		set("time", ev.ReceivedAt.UTC().Format(time.RFC3339Nano))
	}
	if _, ok := a.text["datacontenttype"]; !ok && !came {
		set("datacontenttype", "application/json")
	}
	b = append(b, a.others...)
	if !came || string(ev.Payload) != "null" { // the door stores null for a CloudEvent without data
		b = append(b, `,"data":`...)
		b = append(b, ev.Payload...)
	}
	b = append(b, '}')
	return b, a.trace(), nil
}

// appendText writes a JSON string. What is no UTF-8 in it, which the door does not
// take, becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	return b
}

// attributes are the attributes that came with an event, without those whose name or value
// CloudEvents doesn't allow. Events that a function emits may have such, and events that
// are older than the rules of package api.
type attributes struct {
	text   map[string]string // those that are strings
	others []byte            // `,"name":value` of each that encode doesn't set itself
}

func readAttributes(attrs []byte) (attributes, error) {
	a := attributes{text: map[string]string{}}
	if len(attrs) == 0 {
		return a, nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(attrs))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return a, fmt.Errorf("are no JSON object: %w", err)
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return a, err
		}
		name := t.String()
		value, err := d.ReadValue()
		if err != nil {
			return a, err
		}
		switch value.Kind() {
		case '"':
			text, err := jsontext.AppendUnquote(nil, value)
			if err != nil {
				return a, err
			}
			if cloudevents.CheckAttribute(name, string(text)) != nil {
				continue
			}
			a.text[name] = string(text)
		case 't', 'f', '0':
			if _, err := strconv.ParseInt(value.String(), 10, 32); textOnly(name) || value.Kind() == '0' && err != nil {
				continue
			}
		default:
			continue
		}
		switch name {
		case "specversion", "id", "source", "type", "partitionkey", "data":
			continue
		}
		if !cloudevents.AttributeName(name) {
			continue
		}
		a.others = append(a.others, ',')
		a.others = appendText(a.others, name)
		a.others = append(a.others, ':')
		a.others = append(a.others, value...)
	}
	_, err := d.ReadToken()
	return a, err
}

// textOnly names the optional attributes that CloudEvents gives a type other than
// Boolean and Integer (1.0.2, section 3.1).
func textOnly(name string) bool {
	switch name {
	case "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// names reports whether the attributes name ev as the door names a CloudEvent.
func (a attributes) names(ev functions.Event) bool {
	source, id := a.text["source"], a.text["id"]
	if source == "" || id == "" {
		return false
	}
	key, keyed := a.text["partitionkey"]
	client, message := cloudevents.Identity(source, id, key, keyed)
	return client == ev.ClientID && message == ev.MessageID
}

// trace leaves out what no header may have in it.
func (a attributes) trace() trace {
	t := trace{a.text["traceparent"], a.text["tracestate"]}
	if !visible(t.parent, 256) {
		return trace{}
	}
	if !visible(t.state, 512) {
		t.state = ""
	}
	return t
}

// visible reports whether s is 1 to max characters of ASCII that a header may have.
func visible(s string, max int) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= max
}

// deliveryID is the webhook-id: the same in all attempts of a run, another one for the
// run that a person asked for (a redrive, a replay), so that the endpoint does it again.
// It follows from the event's identity alone, so that it is the same after a restart, and
// from a database that was restored.
func deliveryID(ev functions.Event) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s%d %s%d", len(ev.ClientID), ev.ClientID, len(ev.MessageID), ev.MessageID, ev.Run))
	return "msg_" + hex.EncodeToString(sum[:16])
}
