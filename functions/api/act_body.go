package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// maxActBody bounds what an operator sends, in bytes: a reason and a few numbers.
const maxActBody = 16 << 10

// readAct reads the body of an operator's request into body, strictly. An empty one
// is an empty object, for the verbs that need nothing.
func (o *operations) readAct(x *exchange, r *http.Request, body any) error {
	form, err := formOf(r.Header)
	if err != nil {
		return err
	}
	if form != plainForm {
		return mediaType.withDetail("send JSON, as %s", typeJSON)
	}
	if r.ContentLength > maxActBody {
		return bodyProblem(&http.MaxBytesError{Limit: maxActBody})
	}
	x.body.max = maxActBody
	var text bytes.Buffer
	if _, err := text.ReadFrom(&x.body); err != nil {
		return bodyProblem(err)
	}
	x.body.release()
	begin := bytes.TrimLeft(text.Bytes(), " \t\r\n")
	switch {
	case len(begin) == 0:
		return nil
	case begin[0] == 'n': // null would stand for an empty object
		return actField("", "must be an object, not null")
	}
	err = jsonv2.Unmarshal(text.Bytes(), body, jsonv2.RejectUnknownMembers(true))
	if se, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		pointer := string(se.JSONPointer)
		switch {
		case errors.Is(err, jsonv2.ErrUnknownName):
			return actField(pointer, "is not a field of this request: leave it out")
		case pointer == "":
			return actField(pointer, "must be an object, not %s", kindName(se.JSONKind))
		}
		return actField(pointer, "must be %s", wanted(pointer))
	}
	if err != nil {
		p := syntaxProblem("", err)
		p.kind = invalidRequest
		return p
	}
	return nil
}

// actField makes an invalid-request of one field of the body.
func actField(pointer, format string, args ...any) *problem {
	p := field(pointer, format, args...)
	p.kind = invalidRequest
	return p
}

// wanted says what a field of an operator's request must be.
func wanted(pointer string) string {
	switch name := strings.TrimPrefix(pointer, "/"); name {
	case "seq", "run", "from", "to":
		return "a whole number"
	case "dry_run", "all":
		return "true or false"
	case "since":
		return "a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z"
	}
	return "a string"
}

// seqField refuses a number that is no seq. required: 0, which stands for a field
// that isn't there, is refused too.
func seqField(name string, seq int64, required bool) error {
	switch {
	case seq < 0:
		return actField("/"+name, "must be a whole number, 1 or more")
	case seq == 0 && required:
		return actField("/"+name, "is missing: name the event by its seq, as GET /v1/accounts/{client_id} shows it in head_seq")
	}
	return nil
}

// actKey is the Idempotency-Key of an operator's request, "" for none.
func actKey(h http.Header) (string, error) {
	key, err := idempotencyKey(h)
	if err == nil && len(key) > maxKey {
		err = invalidRequest.withDetail("Idempotency-Key is longer than %d bytes", maxKey)
	}
	return key, err
}

// maxKey and maxReason are the storage's bounds, in bytes.
const (
	maxKey    = 256
	maxReason = 4096
)

func reasonField(reason string) error {
	if len(reason) > maxReason {
		return actField("/reason", "is longer than %d bytes", maxReason)
	}
	return nil
}

// auditName returns the operator's name in the audit.
func (t *token) auditName() string {
	if t == anyone {
		return "anyone" // no tokens are asked for
	}
	return fmt.Sprintf("%.256s", t.name)
}
