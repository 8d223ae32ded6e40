package api

import (
	"net/http"
	"net/url"
	"strconv"

	"inturn/db"

	"github.com/go-json-experiment/json/jsontext"
)

// answerReceipt answers an accepted event: 202 while it is pending, 200 with its
// result when it is finished.
func (x *exchange) answerReceipt(rc db.Receipt) error {
	body := make([]byte, 0, 160+len(rc.ClientID)+len(rc.MessageID))
	body = appendIdentity(body, rc.ClientID, rc.MessageID, rc.Seq, rc.State)
	body = append(body, `,"duplicate":`...)
	body = strconv.AppendBool(body, rc.Duplicate)
	if rc.Result == nil {
		x.location[0] = "/v1/events/" + url.PathEscape(rc.ClientID) + "/" + url.PathEscape(rc.MessageID)
		x.Header()["Location"] = x.location[:]
		x.answer(http.StatusAccepted, jsonType, append(body, "}\n"...))
		return nil
	}
	if x.hold(rc.Result.Size()) != nil {
		return overloaded.withDetail("the event is stored and finished, and too many answers are waiting to be read: send it again later for its result")
	}
	w := newAnswerWriter(x)
	w.append(body)
	w.result(rc.Result)
	w.text("}\n")
	w.end()
	return nil
}

// appendIdentity begins the JSON object of an event or a receipt.
func appendIdentity(b []byte, clientID, messageID string, seq int64, state db.State) []byte {
	b = append(b, `{"client_id":`...)
	b = appendText(b, clientID)
	b = append(b, `,"message_id":`...)
	b = appendText(b, messageID)
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"state":`...)
	return appendText(b, string(state))
}

// appendResult gives how an event ended: "result" is what its effect returned, null
// for none; a dead event has null and says why in "error".
func appendResult(b []byte, r *db.Result) []byte {
	b = append(b, `,"result":`...)
	if r.Status == db.Done && len(r.Output) > 0 {
		b = append(b, r.Output...)
	} else {
		b = append(b, "null"...)
	}
	if r.Status == db.Dead {
		b = append(b, `,"error":`...)
		b = appendText(b, r.Error)
	}
	return b
}

// appendText appends s as a JSON string. Invalid UTF-8, which an error's text may
// have, becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its only error is invalid UTF-8, and it has been replaced
	return b
}
