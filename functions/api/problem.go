package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"inturn/db"
	"inturn/functions"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// kind is a sort of problem. Its name is the end of the answer's type, a URN, and
// what clients decide by.
type kind struct {
	name       string
	status     int
	title      string
	retryAfter int // seconds, 0 for no Retry-After
}

// The problems that can be answered.
var (
	invalidEvent     = kind{"invalid-event", http.StatusBadRequest, "The event is not valid", 0}
	invalidRequest   = kind{"invalid-request", http.StatusBadRequest, "The request is not valid", 0}
	unauthorized     = kind{"unauthorized", http.StatusUnauthorized, "The sender is not known", 0}
	forbidden        = kind{"forbidden", http.StatusForbidden, "This token does not allow that", 0}
	notFound         = kind{"not-found", http.StatusNotFound, "Not found", 0}
	methodNotAllowed = kind{"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed", 0}
	tooSlow          = kind{"request-timeout", http.StatusRequestTimeout, "The request came too slowly", 0}
	tooLarge         = kind{"too-large", http.StatusRequestEntityTooLarge, "The body is too large", 0}
	mediaType        = kind{"unsupported-media-type", http.StatusUnsupportedMediaType, "Media type not supported", 0}
	idReused         = kind{"id-reused", http.StatusUnprocessableEntity, "The message_id was used for another event", 0}
	notAttempted     = kind{"not-attempted", http.StatusFailedDependency, "An earlier event was refused", 0}
	upgradeRequired  = kind{"upgrade-required", http.StatusUpgradeRequired, "This path speaks WebSocket", 0}
	accountFull      = kind{"account-full", http.StatusTooManyRequests, "Too many events of this account are pending", 5}
	internal         = kind{"internal", http.StatusInternalServerError, "Something went wrong here", 0}
	overloaded       = kind{"overloaded", http.StatusServiceUnavailable, "Too much is coming in", 1}
	backlogFull      = kind{"backlog-full", http.StatusServiceUnavailable, "Too many events are pending", 5}
	storageFull      = kind{"storage-full", http.StatusServiceUnavailable, "The disk is full", 30}
	storageLocked    = kind{"storage-locked", http.StatusServiceUnavailable, "Another program holds the database's write lock", 2}
	unavailable      = kind{"unavailable", http.StatusServiceUnavailable, "The storage is not available", 5}
	outcomeUnknown   = kind{"outcome-unknown", http.StatusServiceUnavailable, "The event may or may not have been stored", 2}
	shuttingDown     = kind{"shutting-down", http.StatusServiceUnavailable, "The server is shutting down", 2}
)

// problem is an error for two readers: detail and fields are for the client, cause
// is for the log and never leaves the process.
type problem struct {
	kind
	detail    string
	fields    []fieldProblem
	seq       int64  // of the event that has the identity, for idReused
	challenge string // WWW-Authenticate
	cause     error
}

// fieldProblem says what is wrong with a field of the body (Pointer, an RFC 6901
// pointer as a URI fragment) or with a query parameter.
type fieldProblem struct {
	Pointer   string `json:"pointer,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Detail    string `json:"detail"`
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.name + ": " + p.cause.Error()
	}
	return p.name + ": " + p.detail
}

func (p *problem) Unwrap() error { return p.cause }

func (k kind) withDetail(format string, args ...any) *problem {
	return &problem{kind: k, detail: fmt.Sprintf(format, args...)}
}

func (p *problem) withCause(err error) *problem {
	p.cause = err
	return p
}

// field makes an invalid-event of one field. pointer is an RFC 6901 pointer from
// the event's root, "" for the body as a whole.
func field(pointer, format string, args ...any) *problem {
	f := fieldProblem{Pointer: fragment(pointer), Detail: fmt.Sprintf(format, args...)}
	name := cut(strings.TrimPrefix(pointer, "/"), maxPointer)
	if name == "" {
		name = "body"
	}
	return &problem{kind: invalidEvent, detail: name + ": " + f.Detail, fields: []fieldProblem{f}}
}

// parameter makes an invalid-request of one query parameter.
func parameter(name, format string, args ...any) *problem {
	f := fieldProblem{Parameter: cut(name, 100), Detail: fmt.Sprintf(format, args...)}
	return &problem{kind: invalidRequest, detail: f.Parameter + ": " + f.Detail, fields: []fieldProblem{f}}
}

const maxPointer = 256

// fragment is the URI form of a JSON pointer. One that is too long to be shown
// names the nearest part of the event around it that is not.
func fragment(pointer string) string {
	if pointer != "" && pointer[0] != '/' { // a function's FieldError may have forgotten it
		pointer = "/" + pointer
	}
	if len(pointer) > maxPointer {
		pointer = pointer[:strings.LastIndexByte(pointer[:maxPointer], '/')]
	}
	u := url.URL{Fragment: pointer}
	return "#" + u.EscapedFragment()
}

// cut bounds a text that a stranger chose, for a log line or an answer.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// eventProblem is for what a function says about an event: its text is meant for
// the sender.
func eventProblem(err error) *problem {
	if fe, ok := errors.AsType[*functions.FieldError](err); ok {
		return field(fe.Pointer, "%s", cut(fe.Detail, 1000))
	}
	return field("/payload", "%s", cut(err.Error(), 1000))
}

// storeProblem translates what the storage says of a write. One whose context ended
// may have been done, so that is an unknown outcome.
func storeProblem(err error) *problem {
	var reused *db.IDReusedError
	var locked *db.LockedError
	var wrong *db.FieldError
	switch {
	case errors.As(err, &wrong):
		return field("/"+wrong.Field, "%s", cut(wrong.Detail, 1000))
	case errors.As(err, &reused):
		p := idReused.withDetail("an event with this client_id and message_id was accepted before with another payload, type or deliver_at: use a new message_id, or send the same event (payloads are compared byte for byte after blanks are dropped: the order of names and the form of numbers count)")
		p.seq = reused.Seq
		return p
	case errors.Is(err, db.ErrNotAttempted):
		return notAttempted.withDetail("an earlier event of this account was refused, or one whose account can't be read: repair that one, then send it and those after it again in order, in another batch or on another stream")
	case errors.Is(err, db.ErrNotFound):
		return notFound.withDetail("there is no event with this client_id and message_id")
	case errors.Is(err, db.ErrAccountFull):
		return accountFull.withDetail("nothing was stored: wait until some events of this client_id are done, then resend").withCause(err)
	case errors.Is(err, db.ErrBacklogFull):
		return backlogFull.withDetail("nothing was stored: resend later").withCause(err)
	case errors.As(err, &locked):
		return storageLocked.withDetail("nothing was stored: %s; resend later", locked).withCause(err)
	case errors.Is(err, db.ErrOverloaded):
		return overloaded.withDetail("nothing was stored: resend later").withCause(err)
	case errors.Is(err, db.ErrOutcomeUnknown):
		return outcomeUnknown.withDetail("resend the same id: a repeat is never processed twice").withCause(err)
	case errors.Is(err, db.ErrStorageFull):
		return storageFull.withDetail("nothing was stored: resend later").withCause(err)
	case errors.Is(err, db.ErrClosed):
		return shuttingDown.withDetail("resend in a moment").withCause(err)
	case errors.Is(err, db.ErrUnavailable), errors.Is(err, db.ErrFenced), errors.Is(err, db.ErrCorrupt):
		return unavailable.withDetail("resend later").withCause(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return outcomeUnknown.withDetail("resend the same id: a repeat is never processed twice").withCause(err)
	}
	return internal.withDetail("the cause is in the server's log, under this request_id").withCause(err)
}

// asProblem makes any error a problem.
func asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	return storeProblem(err)
}

// refuse answers err. It is the one place where errors become answers, are counted
// and are noted for the log.
func (f *front) refuse(x *exchange, r *http.Request, err error) {
	p := asProblem(err)
	x.problem = p
	if p.seq != 0 {
		x.seq = p.seq
	}
	f.observer.Problem(p.name)
	if x.offers {
		f.observer.Offered(p.result())
	}
	if p.name == backlogFull.name {
		p.retryAfter = backlogRetry(f.drainRate())
	}
	h := x.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	switch p.kind {
	case shuttingDown:
		// The next try should reach another process. HTTP/2 says that by itself, at the
		// end; here it would cut the answer off.
		if r.ProtoMajor == 1 {
			h.Set("Connection", "close")
		}
	case mediaType:
		h.Set("Accept", accepted)
		h.Set("Accept-Encoding", "identity")
	}
	x.answer(p.status, problemType, p.json(x.requestID))
}

// json is RFC 9457's form. Text that came from elsewhere may not be valid UTF-8.
func (p *problem) json(requestID string) []byte {
	b, err := jsonv2.Marshal(struct {
		Type      string         `json:"type"`
		Title     string         `json:"title"`
		Status    int            `json:"status"`
		Detail    string         `json:"detail,omitempty"`
		RequestID string         `json:"request_id"`
		Seq       int64          `json:"seq,omitzero"`
		Errors    []fieldProblem `json:"errors,omitempty"`
	}{"urn:inturn:problem:" + p.name, p.title, p.status, p.detail, requestID, p.seq, p.fields},
		jsontext.AllowInvalidUTF8(true))
	if err != nil { // strings and numbers only: can't happen
		return []byte(`{"type":"urn:inturn:problem:internal","status":500}` + "\n")
	}
	return append(b, '\n')
}
