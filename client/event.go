package client

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Event is what is sent.
type Event struct {
	ClientID  string          // the account
	MessageID string          // unique within the account; "": a random one is made before the first try
	Type      string          // names the function; "": the server's default, message
	Payload   json.RawMessage // any JSON value; two spellings of one value are two payloads

	// Body, if it is set, is sent as it is, in place of the event that the fields make. It
	// has their ClientID and MessageID.
	Body []byte
	// Tag is the caller's own. It comes back with the answer and is never sent.
	Tag any
}

// body gives e an id where it has none, and returns it as it is sent, the same bytes each time.
func (e *Event) body() ([]byte, *Problem) {
	if e.Body != nil {
		return e.Body, nil
	}
	if e.MessageID == "" {
		e.MessageID = rand.Text()
	}
	b, err := jsonv2.Marshal(struct {
		ClientID  string         `json:"client_id"`
		MessageID string         `json:"message_id"`
		Type      string         `json:"type,omitzero"`
		Payload   jsontext.Value `json:"payload"`
	}{e.ClientID, e.MessageID, e.Type, jsontext.Value(e.Payload)})
	if err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Name: "invalid-event", Title: "The event is not valid", Detail: "it can't be written as JSON: " + err.Error()}
	}
	e.Body = b
	return b, nil
}

// Receipt is the server's word that an event is durable.
type Receipt struct {
	ClientID  string          `json:"client_id"`
	MessageID string          `json:"message_id"`
	Seq       int64           `json:"seq"`
	State     string          `json:"state"` // pending, scheduled, done or dead
	Duplicate bool            `json:"duplicate"`
	Result    json.RawMessage `json:"result,omitempty"` // of an event that is done
	Error     string          `json:"error,omitempty"`  // of an event that is dead
}

// Finished reports whether the event is done or dead.
func (r Receipt) Finished() bool { return r.State == "done" || r.State == "dead" }

// Problem is an answer that is no receipt (RFC 9457).
type Problem struct {
	Status     int
	Name       string // such as invalid-event; "" where the answer is not the server's own
	Title      string
	Detail     string
	Seq        int64         // of id-reused: the event that has the message_id
	RetryAfter time.Duration // 0: none
	Fields     []Field
}

// Field says what is wrong with a field of an event.
type Field struct {
	Pointer string `json:"pointer"` // RFC 6901, as a URI fragment
	Detail  string `json:"detail"`
}

// Error returns the status, the title and the detail on one line.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, http.StatusText(p.Status))
	if p.Title != "" && !strings.EqualFold(p.Title, http.StatusText(p.Status)) {
		text += ": " + p.Title
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// Temporary reports whether the same event may be taken later: 408, 429 and 5xx.
func (p *Problem) Temporary() bool {
	return p.Status == http.StatusRequestTimeout || p.Status == http.StatusTooManyRequests || p.Status >= 500
}

// NotAttempted reports whether the event was left out because an earlier one of its
// account was refused.
func (p *Problem) NotAttempted() bool { return p.Status == http.StatusFailedDependency }

const urn = "urn:inturn:problem:"

// answer is one of many answers, of a batch or a stream: a receipt or a problem.
type answer struct {
	N          int64          `json:"n"`
	Status     int            `json:"status"`
	MessageID  string         `json:"message_id"`
	Seq        int64          `json:"seq"`
	State      string         `json:"state"`
	Duplicate  bool           `json:"duplicate"`
	Result     jsontext.Value `json:"result"`
	Error      string         `json:"error"`
	Type       string         `json:"type"` // of a problem
	Title      string         `json:"title"`
	Detail     string         `json:"detail"`
	RetryAfter int            `json:"retry_after"`
	Fields     []Field        `json:"errors"`
}

// of returns the answer as that to e.
func (a *answer) of(e *Event) (Receipt, *Problem) {
	if name, ok := strings.CutPrefix(a.Type, urn); ok {
		return Receipt{}, &Problem{a.Status, name, a.Title, a.Detail, a.Seq, time.Duration(a.RetryAfter) * time.Second, a.Fields}
	}
	return Receipt{e.ClientID, e.MessageID, a.Seq, a.State, a.Duplicate, json.RawMessage(a.Result), a.Error}, nil
}

func readAnswers(text []byte) (all []answer, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = jsonv2.Unmarshal(text, &all)
	} else {
		all = make([]answer, 1)
		err = jsonv2.Unmarshal(text, &all[0])
	}
	if err != nil {
		return nil, fmt.Errorf("an answer can't be read: %w", err)
	}
	return all, nil
}
