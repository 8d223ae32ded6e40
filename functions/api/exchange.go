package api

import (
	"net/http"
	"strconv"
)

// exchange is one request and its answer. It is the ResponseWriter that endpoints
// get, so that what happened is known when the log line is written.
type exchange struct {
	http.ResponseWriter
	requestID string
	body      heldBody
	answers   *answerBudget
	held      int               // bytes of the answer that are reserved in answers
	query     map[string]string // checked parameters, nil for none

	routed  bool // an endpoint has it; before that only ServeMux's own answers can come
	offers  bool // one event, which a problem refuses
	early   bool // answered before the body has come
	status  int  // answered, 0 for not yet
	problem *problem

	// Header values, here because they would otherwise be allocated one by one.
	idValue, location [1]string

	// For the log line, as far as they are known.
	token, clientID, messageID string
	seq                        int64
	tally                      tally // of a request with many events
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader drops what ServeMux answers by itself, in plain text: the front
// answers a problem in its place.
func (x *exchange) WriteHeader(status int) {
	if !x.routed {
		x.status = status
		return
	}
	if status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if !x.routed {
		return len(b), nil
	}
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Header values that many answers share. net/http doesn't change what it is given.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
)

// answer writes a whole answer, which should end with a newline for people at a
// terminal. A client that is gone is no error.
func (x *exchange) answer(status int, contentType []string, body []byte) {
	h := x.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	if len(body) > 2048 || x.early { // below, net/http counts by itself, at the end
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	x.WriteHeader(status)
	_, _ = x.Write(body) // its client is gone if it fails
}
