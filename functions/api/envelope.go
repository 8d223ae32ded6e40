package api

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"inturn/functions"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep a payload nests. A program that reads it later may recurse.
const maxDepth = 64

// envelope reads the plain form of an event,
//
//	{"client_id": "…", "message_id": "…", "type": "…", "payload": …}
//
// strictly, so that no two readers can understand it differently: exact names,
// none doubled (anywhere, also if written with other escapes), none unknown,
// valid UTF-8, no lone surrogates, nothing after it. The decoder is jsontext's,
// which refuses all of that by default.
//
// An envelope is reused, because a decoder and a body's buffer cost more than all
// the rest. Nothing of an event aliases it.
type envelope struct {
	body bytes.Buffer
	dec  jsontext.Decoder
}

var envelopes = sync.Pool{New: func() any { return new(envelope) }}

func newEnvelope() *envelope { return envelopes.Get().(*envelope) }

// free gives e back, unless that would keep a large buffer alive for small events.
func (e *envelope) free() {
	if e.body.Cap() > firstRead+bytes.MinRead {
		return
	}
	e.body.Reset()
	envelopes.Put(e)
}

// event decodes what is in e.body. Errors are *problem and name the field.
// client_id and message_id come with an error too, as far as they were read. key,
// if not "", is another name of message_id that came beside the body.
func (e *envelope) event(key string) (ev functions.Event, err error) {
	if err := e.open(); err != nil {
		return ev, err
	}
	named := false
	for e.dec.PeekKind() != '}' {
		raw, err := e.dec.ReadValue()
		if err != nil {
			return ev, syntaxProblem("", err)
		}
		switch name := unquote(raw); string(name) { // no case keeps name, so nothing is copied
		case "client_id":
			ev.ClientID, err = e.text("/client_id")
		case "message_id":
			named = true
			ev.MessageID, err = e.text("/message_id")
		case "type":
			if ev.Type, err = e.text("/type"); err == nil && ev.Type == "" {
				err = field("/type", "is empty: name a type, or leave it out for %q", functions.DefaultType)
			}
		case "payload":
			ev.Payload, err = e.payload()
		case "deliver_at":
			ev.DeliverAt, err = e.time("/deliver_at")
		default:
			err = field("/"+pointerToken(string(name)), "is not a field of an event: leave it out, or put it into payload (fields are client_id, message_id, type, payload and deliver_at)")
		}
		if err != nil {
			return ev, err
		}
	}
	if err := e.close(); err != nil {
		return ev, err
	}
	switch {
	case key == "":
	case !named:
		ev.MessageID = key
	case ev.MessageID != key:
		return ev, field("/message_id", "differs from the Idempotency-Key: send one of them, or the same in both")
	}
	return ev, missing(ev)
}

// open begins to decode the object in e.body.
func (e *envelope) open() error {
	e.dec.Reset(&e.body)
	switch kind := e.dec.PeekKind(); kind {
	case '{':
		_, err := e.dec.ReadToken()
		if err != nil {
			return syntaxProblem("", err)
		}
		return nil
	case jsontext.KindInvalid:
		if _, err := e.dec.ReadToken(); err != io.EOF {
			return syntaxProblem("", err)
		}
		return field("", "is empty: send one event, as a JSON object")
	default:
		return field("", "must be one event, as a JSON object, not %s", kindName(kind))
	}
}

// close ends the object and sees that nothing follows it.
func (e *envelope) close() error {
	if _, err := e.dec.ReadToken(); err != nil {
		return syntaxProblem("", err)
	}
	if _, err := e.dec.ReadToken(); err != io.EOF {
		return field("", "goes on after the event (at byte %d): send one event, or an array of them, or application/x-ndjson", e.dec.InputOffset())
	}
	return nil
}

// missing names all required fields that did not come.
func missing(ev functions.Event) error {
	if ev.ClientID != "" && ev.MessageID != "" && ev.Payload != nil {
		return nil
	}
	var all *problem
	add := func(pointer, detail string) {
		p := field(pointer, "%s", detail)
		if all == nil {
			all = p
			return
		}
		all.fields = append(all.fields, p.fields...)
		all.detail += "; " + p.detail
	}
	if ev.ClientID == "" {
		add("/client_id", "is missing or empty: name the account, in 1 to 256 bytes")
	}
	if ev.MessageID == "" {
		add("/message_id", "is missing or empty: give the event an id of its own, in 1 to 256 bytes")
	}
	if ev.Payload == nil {
		add("/payload", "is missing: send the event's data, any JSON value")
	}
	return all
}

// text reads a value that must be a string.
func (e *envelope) text(pointer string) (string, error) {
	raw, err := e.dec.ReadValue()
	if err != nil {
		return "", syntaxProblem("", err)
	}
	if kind := raw.Kind(); kind != '"' {
		return "", field(pointer, "must be a string, not %s", kindName(kind))
	}
	return string(unquote(raw)), nil
}

// time reads a value that must be a time.
func (e *envelope) time(pointer string) (time.Time, error) {
	text, err := e.text(pointer)
	if err != nil {
		return time.Time{}, err
	}
	return parseDeliverAt(pointer, text)
}

// payload reads a value of any kind and returns it compacted.
func (e *envelope) payload() ([]byte, error) {
	raw, err := e.dec.ReadValue()
	if err != nil {
		return nil, syntaxProblem("", err)
	}
	return compact(raw)
}

// compactPayload is payload for one that came without an envelope.
func compactPayload(body []byte) ([]byte, error) {
	e := newEnvelope()
	defer e.free()
	e.body.Write(body)
	e.dec.Reset(&e.body)
	raw, err := e.dec.ReadValue()
	if err == nil {
		var payload []byte
		if payload, err = compact(raw); err != nil {
			return nil, err
		}
		if _, err = e.dec.ReadToken(); err == io.EOF {
			return payload, nil
		}
		return nil, field("/payload", "goes on after its JSON value: send one value")
	}
	if err == io.EOF {
		return nil, field("/payload", "is empty: send a JSON value")
	}
	return nil, syntaxProblem("/payload", err)
}

// compact copies valid JSON without its insignificant white space and changes
// nothing else, as encoding/json.Compact does, and counts its depth on the way.
func compact(raw []byte) ([]byte, error) {
	out := make([]byte, 0, len(raw))
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case ' ', '\t', '\n', '\r':
			continue
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, field("/payload", "nests deeper than %d levels: flatten it", maxDepth)
			}
		case '}', ']':
			depth--
		case '"':
			start := i
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			out = append(out, raw[start:i]...)
		}
		out = append(out, raw[i])
	}
	return out, nil
}

// unquote returns the text of a valid JSON string, without a copy where it has no escapes.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, raw) // the decoder has found it valid
	return text
}

// pointerToken escapes a name for a JSON pointer (RFC 6901, section 3).
func pointerToken(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// syntaxProblem is for the decoder's errors. root is where in the event its input stands.
func syntaxProblem(root string, err error) *problem {
	se, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok { // io.EOF inside the event: the buffer itself can't fail
		return field(root, "the JSON ends too early: send it whole")
	}
	pointer := root + string(se.JSONPointer)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return field(pointer, "the JSON ends too early: send it whole")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return field(pointer, "this name stands twice in its object: send it once")
	}
	return field(pointer, "is not valid JSON: %s, at byte %d: send JSON as RFC 8259 has it, in UTF-8", cut(se.Err.Error(), 200), se.ByteOffset)
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	}
	return "an array"
}
