package api

import (
	"strconv"
	"strings"
	"time"

	"inturn/functions"
	"inturn/functions/cloudevents"
)

// maxAttrs bounds the attributes of a CloudEvent, in bytes of JSON. In binary mode
// the header's own bound comes first.
const maxAttrs = 16 << 10

// cloudEvent gathers a CloudEvent 1.0 from whichever mode it came in:
//
//	partitionkey, else source           client_id
//	id; source + " " + id with a
//	partitionkey that is not the
//	source's, because identity in
//	CloudEvents is source and id        message_id
//	type                                type
//	data                                payload; null if there is none
//	deliverat                           deliver_at
//	all but type and data               attrs, as they came, also id and source
type cloudEvent struct {
	version, id, source, kind, key string
	keyed, traced                  bool
	deliverAt                      time.Time
	attrs                          []byte // JSON object without its end
	data                           []byte // compact JSON
}

// attribute takes one attribute: its text and its value as JSON.
func (c *cloudEvent) attribute(name, text string, value []byte) error {
	if !cloudevents.AttributeName(name) {
		return field("/"+pointerToken(name), "is no name of a CloudEvents attribute: use lower-case letters and digits")
	}
	switch name {
	case "specversion":
		c.version = text
	case "id":
		c.id = text
	case "source":
		c.source = text
	case "partitionkey":
		c.key, c.keyed = text, true
	case "traceparent":
		c.traced = true
	case "deliverat":
		var err error
		if c.deliverAt, err = parseDeliverAt("/deliverat", text); err != nil {
			return err
		}
	case "type":
		c.kind = text
		return nil
	}
	sep := byte(',')
	if len(c.attrs) == 0 {
		sep = '{'
	}
	c.attrs = append(c.attrs, sep)
	c.attrs = appendText(c.attrs, name)
	c.attrs = append(c.attrs, ':')
	c.attrs = append(c.attrs, value...)
	if len(c.attrs) > maxAttrs {
		return field("", "has attributes of more than %d bytes: put what is large into data", maxAttrs)
	}
	return nil
}

// event makes the event. trace is the request's traceparent as attrs, or nil; the
// event's own goes first.
func (c *cloudEvent) event(trace []byte) (functions.Event, error) {
	ev := functions.Event{Type: c.kind, Payload: c.data, DeliverAt: c.deliverAt}
	ev.ClientID, ev.MessageID = cloudevents.Identity(c.source, c.id, c.key, c.keyed)
	if ev.Payload == nil {
		ev.Payload = []byte("null")
	}
	for _, required := range []struct{ name, value string }{
		{"specversion", c.version}, {"id", c.id}, {"source", c.source}, {"type", c.kind},
	} {
		if required.value == "" {
			return ev, field("/"+required.name, "is missing or empty: CloudEvents need it")
		}
	}
	if c.version != "1.0" {
		return ev, field("/specversion", "must be 1.0")
	}
	if c.keyed && c.key == "" {
		return ev, field("/partitionkey", "is empty: name the account, or leave it out for the source to name it")
	}
	ev.Attrs = c.attrs
	if trace != nil && !c.traced {
		ev.Attrs = append(append(ev.Attrs, ','), trace[1:]...)
	} else {
		ev.Attrs = append(ev.Attrs, '}')
	}
	return ev, nil
}

// cloudEvent decodes what is in e.body, a CloudEvent in its JSON format, into c.
func (e *envelope) cloudEvent(c *cloudEvent) error {
	err := e.open()
	for err == nil && e.dec.PeekKind() != '}' {
		err = e.member(c)
	}
	if err != nil {
		return err
	}
	return e.close()
}

// member takes one member of the object.
func (e *envelope) member(c *cloudEvent) error {
	raw, err := e.dec.ReadValue()
	if err != nil {
		return syntaxProblem("", err)
	}
	name := string(unquote(raw))
	switch name {
	case "data":
		c.data, err = e.payload()
		return err
	case "data_base64":
		return mediaType.withDetail("data_base64 is not taken: the data of a CloudEvent must be JSON here, in data")
	}
	value, err := e.dec.ReadValue()
	if err != nil {
		return syntaxProblem("", err)
	}
	pointer := "/" + pointerToken(name)
	text := ""
	switch value.Kind() {
	case 'n': // the same as absent (JSON format, section 2.2)
		return nil
	case '"':
		text = string(unquote(value))
		if err := checkAttribute(name, text); err != nil {
			return err
		}
	case '0':
		if _, err := strconv.ParseInt(string(value), 10, 32); err != nil {
			return field(pointer, "must be a string, true, false or a whole number of 32 bits")
		}
	case 't', 'f':
	default:
		return field(pointer, "must be a string, true, false or a whole number, not %s", kindName(value.Kind()))
	}
	if value.Kind() != '"' && mustBeText(name) {
		return field(pointer, "must be a string, not %s", kindName(value.Kind()))
	}
	return c.attribute(name, text, value)
}

// checkAttribute names the attribute whose text is not of its type.
func checkAttribute(name, text string) error {
	if err := cloudevents.CheckAttribute(name, text); err != nil {
		return field("/"+pointerToken(name), "%s", err)
	}
	return nil
}

// mustBeText reports whether CloudEvents fixes the type of the attribute as a string.
func mustBeText(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey", "traceparent", "deliverat":
		return true
	}
	return false
}

// named makes a problem of the plain form's fields one of the attributes'.
func (c *cloudEvent) named(err error) error {
	p, ok := err.(*problem)
	if !ok || len(p.fields) == 0 {
		return err
	}
	client, message := "source", "id"
	if c.keyed {
		client = "partitionkey"
	}
	swap := func(s, before string) string {
		for from, to := range map[string]string{"payload": "data", "client_id": client, "message_id": message, "deliver_at": "deliverat"} {
			if rest, ok := strings.CutPrefix(s, before+from); ok && (rest == "" || rest[0] == '/' || rest[0] == ':') {
				return before + to + rest
			}
		}
		return s
	}
	named := *p
	named.fields = nil
	for _, f := range p.fields {
		f.Pointer = swap(f.Pointer, "#/")
		named.fields = append(named.fields, f)
	}
	named.detail = swap(p.detail, "")
	return &named
}
