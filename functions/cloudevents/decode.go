package cloudevents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxAttrs bounds the attributes of an event, in bytes of JSON.
const maxAttrs = 16 << 10

// Event is a CloudEvent as it came, with the attributes that CloudEvents requires.
type Event struct {
	ID, Source, Type string
	PartitionKey     string          // "" for none
	Attrs            json.RawMessage // all attributes but type, as a JSON object
	Data             json.RawMessage // a JSON value as it came; nil for none

	version string
}

// Decode returns the event that body is, in the JSON event format.
func Decode(body []byte) (Event, error) {
	var e Event
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if err := e.decode(d); err != nil {
		return Event{}, err
	}
	return e, end(d)
}

// DecodeBatch returns the events that body is, at most limit, in the JSON batch format.
func DecodeBatch(body []byte, limit int) ([]Event, error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return nil, errors.New("a batch must be a JSON array of events")
	}
	events := []Event{}
	for d.PeekKind() != ']' {
		if len(events) == limit {
			return nil, fmt.Errorf("a batch must have at most %d events", limit)
		}
		var e Event
		if err := e.decode(d); err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, invalidJSON(err)
	}
	return events, end(d)
}

// IsBinary reports whether the headers of a message include attributes (HTTP protocol
// binding 1.0.2, section 3.1).
func IsBinary(header map[string][]string) bool {
	for name := range header {
		if strings.HasPrefix(name, "Ce-") {
			return true
		}
	}
	return false
}

// DecodeBinary returns the event of a message in binary mode: attributes are headers,
// with names as net/http has it, and the body is data, which must be JSON or
// nothing.
func DecodeBinary(header map[string][]string, body []byte) (Event, error) {
	var e Event
	var names []string
	for name := range header {
		if strings.HasPrefix(name, "Ce-") {
			names = append(names, name)
		}
	}
	slices.Sort(names) // the same attributes make the same event
	for _, field := range names {
		name := strings.ToLower(strings.TrimPrefix(field, "Ce-"))
		if len(header[field]) != 1 || name == "datacontenttype" {
			return Event{}, fmt.Errorf("attribute %.100q must be given once, and datacontenttype as Content-Type", name)
		}
		if err := e.text(name, HeaderText(name, header[field][0])); err != nil {
			return Event{}, err
		}
	}
	if kind := header["Content-Type"]; len(kind) == 1 && kind[0] != "" {
		if err := e.text("datacontenttype", kind[0]); err != nil {
			return Event{}, err
		}
	}
	if len(bytes.TrimSpace(body)) > 0 {
		d := jsontext.NewDecoder(bytes.NewReader(body))
		value, err := d.ReadValue()
		if err != nil {
			return Event{}, fmt.Errorf("data: %w", invalidJSON(err))
		}
		e.Data = bytes.Clone(value)
		if err := end(d); err != nil {
			return Event{}, fmt.Errorf("data: %w", err)
		}
	}
	return e, e.finish()
}

// decode reads one event.
func (e *Event) decode(d *jsontext.Decoder) error {
	if kind := d.PeekKind(); kind != '{' {
		if _, err := d.ReadToken(); err != nil {
			return invalidJSON(err)
		}
		return errors.New("an event must be a JSON object")
	}
	if _, err := d.ReadToken(); err != nil {
		return invalidJSON(err)
	}
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return invalidJSON(err)
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return invalidJSON(err)
		}
		if err := e.member(name, value); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return invalidJSON(err)
	}
	return e.finish()
}

// member takes one member of an event in the JSON format.
func (e *Event) member(name string, value jsontext.Value) error {
	switch {
	case name == "data":
		e.Data = bytes.Clone(value)
		return nil
	case name == "data_base64":
		return errors.New("data_base64 is not taken: data must be JSON, in data")
	case value.Kind() == 'n': // the same as absent (JSON event format 1.0.2, section 2.2)
		return nil
	case value.Kind() == '"':
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return invalidJSON(err)
		}
		return e.text(name, string(text))
	case hasOwnType(name) || !scalar(value):
		return fmt.Errorf("attribute %.100q must be a string, true, false or a whole number of 32 bits, as its type is", name)
	}
	return e.attribute(name, value)
}

// scalar reports whether value is a Boolean or an Integer (section 2.1).
func scalar(value jsontext.Value) bool {
	switch value.Kind() {
	case 't', 'f':
		return true
	case '0':
		_, err := strconv.ParseInt(string(value), 10, 32)
		return err == nil
	}
	return false
}

// hasOwnType names the attributes whose type CloudEvents fixes: all are written as strings.
func hasOwnType(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey":
		return true
	}
	return false
}

// text takes an attribute that is written as a string.
func (e *Event) text(name, text string) error {
	if err := CheckAttribute(name, text); err != nil {
		return fmt.Errorf("attribute %.100q %w", name, err)
	}
	switch name {
	case "specversion":
		e.version = text
	case "id":
		e.ID = text
	case "source":
		e.Source = text
	case "type":
		e.Type = text
		return nil
	case "partitionkey":
		e.PartitionKey = text
	}
	value, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		return fmt.Errorf("attribute %.100q: %w", name, err)
	}
	return e.attribute(name, value)
}

// attribute keeps one attribute.
func (e *Event) attribute(name string, value jsontext.Value) error {
	if !AttributeName(name) {
		return fmt.Errorf("%.100q is no name of an attribute: use lower-case letters and digits", name)
	}
	e.Attrs = append(e.Attrs, "{,"[min(len(e.Attrs), 1)])
	e.Attrs, _ = jsontext.AppendQuote(e.Attrs, name)
	e.Attrs = append(append(e.Attrs, ':'), value...)
	if len(e.Attrs) > maxAttrs {
		return fmt.Errorf("has attributes of more than %d bytes: put what is large into data", maxAttrs)
	}
	return nil
}

// finish ends the attributes and sees that those are there that must be.
func (e *Event) finish() error {
	for _, required := range []struct{ name, value string }{
		{"specversion", e.version}, {"id", e.ID}, {"source", e.Source}, {"type", e.Type},
	} {
		if required.value == "" {
			return fmt.Errorf("attribute %q is missing", required.name)
		}
	}
	e.Attrs = append(e.Attrs, '}')
	return nil
}

// HeaderText decodes the value of an attribute's header (HTTP protocol binding 1.0.2,
// section 3.1.3.2): a quoted string is unquoted, then percent-decoded once. Senders that
// don't encode are many: a % that no two hex digits follow is itself, and so is each %
// where decoding would make something else of a URI, or no UTF-8.
func HeaderText(name, s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' && hexDigit(s[i+1]) && hexDigit(s[i+2]) {
			b, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			decoded = append(decoded, byte(b))
			i += 2
			continue
		}
		decoded = append(decoded, s[i])
	}
	text := string(decoded)
	if !utf8.ValidString(text) || (name == "source" || name == "dataschema") && CheckAttribute(name, text) != nil {
		return s
	}
	return text
}

func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// end returns an error unless d has nothing left.
func end(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("goes on after its JSON value")
	}
	return nil
}

func invalidJSON(err error) error {
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		err = se.Err
	}
	return fmt.Errorf("is not valid JSON: %w", err)
}
