package api

import (
	"net/http"
	"strconv"

	"inturn/db"
	"inturn/functions"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// item is one event of many: of a batch, a line, a frame.
type item struct {
	event   functions.Event
	account string   // "" where it can't be read
	problem *problem // why it is refused before the storage is asked, or nil
	unread  bool     // no event: problem says why the reading ended
}

// answer is what is said about an item.
type answer struct {
	clientID, messageID string // as far as they were read
	receipt             db.Receipt
	problem             *problem // nil: the receipt is the answer
	open                bool     // neither: nobody could decide yet
}

// tally counts answers for the summary of a batch and for the log.
type tally struct{ accepted, duplicates, refused int }

func (t *tally) add(n *answer) {
	switch {
	case n.problem != nil:
		t.refused++
	case n.receipt.Duplicate:
		t.duplicates++
	default:
		t.accepted++
	}
}

// item decodes and checks one event of many.
func (t *ingester) item(raw []byte) item {
	it, err := t.decode(raw)
	if err != nil {
		it.event.ClientID, it.event.MessageID = identityIn(raw, t.cloud)
		it.account = it.event.ClientID
		it.problem = asProblem(err)
		return it
	}
	it.account = it.event.ClientID
	return it
}

func (t *ingester) decode(raw []byte) (it item, err error) {
	if int64(len(raw)) > t.maxEvent {
		return it, tooLarge.withDetail("an event may have %d bytes: send less in one event", t.maxEvent)
	}
	e := newEnvelope()
	defer e.free()
	e.body.Write(raw)
	if t.cloud {
		var c cloudEvent
		defer func() { err = c.named(err) }()
		if err := e.cloudEvent(&c); err != nil {
			return it, err
		}
		it.event, err = c.event(t.trace)
	} else {
		it.event, err = e.event("")
		it.event.Attrs = t.trace
	}
	if err != nil {
		return it, err
	}
	if err := t.token.authorizeClient(it.event.ClientID); err != nil {
		return it, err
	}
	if it.event, err = t.functions.Check(it.event); err != nil {
		return it, eventProblem(err)
	}
	it.event.RequestID = t.requestID
	return it, nil
}

// appendAnswer gives an answer as one of many. n is its number where it has one, 0
// for none. result is left out where the answer would become too long: GET has it.
func appendAnswer(b []byte, n int, a *answer, withResult bool) []byte {
	b = append(b, '{')
	if n > 0 {
		b = append(b, `"n":`...)
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, ',')
	}
	if a.problem != nil {
		return a.problem.appendTo(b, a.clientID, a.messageID)
	}
	r := &a.receipt
	status := http.StatusAccepted
	if r.Result != nil {
		status = http.StatusOK
	}
	b = append(b, `"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ',')
	b = append(b, appendIdentity(nil, r.ClientID, r.MessageID, r.Seq, r.State)[1:]...)
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendBool(b, r.Duplicate)
	switch {
	case r.Result == nil:
	case withResult && !r.Result.Omitted:
		b = appendResult(b, r.Result)
	default:
		b = append(b, `,"result_omitted":true`...)
	}
	return append(b, '}')
}

// appendTo gives a problem as one of many answers, in an object that is open. What
// is a header else is retry_after here.
func (p *problem) appendTo(b []byte, clientID, messageID string) []byte {
	text, err := jsonv2.Marshal(struct {
		Status     int            `json:"status"`
		ClientID   string         `json:"client_id,omitempty"`
		MessageID  string         `json:"message_id,omitempty"`
		Type       string         `json:"type"`
		Title      string         `json:"title"`
		Detail     string         `json:"detail,omitempty"`
		Seq        int64          `json:"seq,omitzero"`
		RetryAfter int            `json:"retry_after,omitzero"`
		Errors     []fieldProblem `json:"errors,omitempty"`
	}{p.status, cut(clientID, functions.MaxID), cut(messageID, functions.MaxID), "urn:inturn:problem:" + p.name, p.title, p.detail, p.seq, p.retryAfter, p.fields},
		jsontext.AllowInvalidUTF8(true))
	if err != nil { // strings and numbers only: can't happen
		return append(b, `"status":500}`...)
	}
	return append(b, text[1:]...)
}
