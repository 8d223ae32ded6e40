package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"inturn/functions"

	"github.com/go-json-experiment/json/jsontext"
)

// payloadOf returns a body as JSON. A form becomes an object of its fields, each a text, or
// an array of texts where it comes more than once; a form with the field payload alone, as
// GitHub and Slack send, has the JSON in it.
func payloadOf(h http.Header, body []byte) (json.RawMessage, error) {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return body, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the body is not the form that its Content-Type says")
	}
	if whole := form["payload"]; len(form) == 1 && len(whole) == 1 {
		return json.RawMessage(whole[0]), nil
	}
	fields := make(map[string]any, len(form))
	for name, values := range form {
		if fields[name] = values; len(values) == 1 {
			fields[name] = values[0]
		}
	}
	return json.Marshal(fields)
}

// place is where the id of a delivery is.
type place struct{ header, pointer string }

// place reads Options.MessageID.
func (p product) place(text string) (place, error) {
	if text == "" {
		text = p.messageID
	}
	if p.fixed && !strings.EqualFold(text, p.messageID) {
		return place{}, option("message_id", "must be "+p.messageID+", which the signature covers: leave it out")
	}
	if name, ok := strings.CutPrefix(text, "header "); ok {
		if name = strings.TrimSpace(name); name != "" && strings.Trim(name, token) == "" {
			return place{header: name}, nil
		}
	} else if strings.HasPrefix(text, "/") && len(text) <= maxPath && validPointer(text) {
		return place{pointer: text}, nil
	}
	return place{}, option("message_id", `must be "header" and the name of one, such as header X-Request-Id, or a JSON Pointer into the body, such as /id`)
}

// validPointer reports whether each ~ of a JSON Pointer is followed by 0 or 1.
func validPointer(s string) bool {
	return !strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~")
}

// of returns the id of a delivery.
func (p place) of(h http.Header, payload []byte) (string, error) {
	if p.header != "" {
		return header(h, p.header)
	}
	id, err := at(payload, jsontext.Pointer(p.pointer))
	if err != nil {
		return "", &functions.FieldError{Pointer: "/payload" + p.pointer, Detail: "must be the id of the delivery, a text or a whole number: " + err.Error()}
	}
	return id, nil
}

// at returns the text, or the whole number, that a pointer names.
func at(text []byte, want jsontext.Pointer) (string, error) {
	d := jsontext.NewDecoder(strings.NewReader(string(text)))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return "", errors.New("it is not there")
		}
		if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 {
			continue // the name of what comes next
		}
		if d.StackPointer() != want {
			continue
		}
		switch tok.Kind() {
		case '"':
			return tok.String(), nil
		case '0':
			if _, err := strconv.ParseInt(tok.String(), 10, 64); err == nil {
				return tok.String(), nil
			}
		}
		return "", fmt.Errorf("it is %s", kindName(tok.Kind()))
	}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 'n':
		return "null"
	case '0':
		return "another number"
	}
	return "true or false"
}

// attributes returns those of the headers that were sent, as a JSON object, or nil.
func attributes(names map[string]string, h http.Header) json.RawMessage {
	found := map[string]string{}
	for name, attribute := range names {
		if v := h.Get(name); v != "" && len(v) <= functions.MaxID {
			found[attribute] = v
		}
	}
	if len(found) == 0 {
		return nil
	}
	b, _ := json.Marshal(found) // texts alone: no error
	return b
}
