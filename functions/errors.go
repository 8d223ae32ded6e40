package functions

import (
	"errors"
	"fmt"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// RetryError asks for another attempt.
type RetryError struct {
	After time.Duration // not before
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// Retry returns an error that asks for another attempt, not before after. The
// attempt counts; the account waits. After a restart it waits no longer than the longest
// MaxBackoff of all functions, or an hour where that is longer.
func Retry(after time.Duration, err error) error {
	if err == nil {
		err = errors.New("the function asked for another attempt")
	}
	return &RetryError{After: after, Err: err}
}

// RejectError says that an event can never succeed.
type RejectError struct{ Err error }

func (e *RejectError) Error() string { return e.Err.Error() }
func (e *RejectError) Unwrap() error { return e.Err }

// Reject returns an error that sets the event aside as dead at once.
func Reject(err error) error {
	if err == nil {
		err = errors.New("the function rejected the event")
	}
	return &RejectError{Err: err}
}

// ParkError says that no attempt can succeed before a person has acted.
type ParkError struct{ Err error }

func (e *ParkError) Error() string { return e.Err.Error() }
func (e *ParkError) Unwrap() error { return e.Err }

// Park returns an error that parks the account at once, however many attempts are
// left: the event keeps its place until an operator acts.
func Park(err error) error {
	if err == nil {
		err = errors.New("the function asked for a person")
	}
	return &ParkError{Err: err}
}

// PostponeError says that nothing was tried.
type PostponeError struct {
	After time.Duration // not before
	Err   error
}

func (e *PostponeError) Error() string { return e.Err.Error() }
func (e *PostponeError) Unwrap() error { return e.Err }

// Postpone returns an error that lets the account wait without an attempt being
// counted: what the function needs is not there now, for any account, and it has tried
// nothing. The wait is kept in memory only. There is no bound on how often: the
// function must let a call through now and then to find out.
func Postpone(after time.Duration, err error) error {
	if err == nil {
		err = errors.New("the function postponed the event")
	}
	return &PostponeError{After: after, Err: err}
}

// FieldError names what is wrong with one field of an event.
type FieldError struct {
	Pointer string // RFC 6901, from the event's root: /client_id, /payload/phone
	Detail  string // what it must be, for the sender
}

func (e *FieldError) Error() string {
	return strings.TrimPrefix(e.Pointer, "/") + ": " + e.Detail
}

// Field returns an error about a field of the payload, for Check methods:
// Field("phone", "must be …") points to /payload/phone.
func Field(name, detail string) error {
	return &FieldError{Pointer: "/payload/" + name, Detail: detail}
}

// UnauthorizedError says that a sender could not prove its identity.
type UnauthorizedError struct{ Err error }

func (e *UnauthorizedError) Error() string { return e.Err.Error() }
func (e *UnauthorizedError) Unwrap() error { return e.Err }

// Unauthorized makes an HTTP function's error a 401.
func Unauthorized(err error) error { return &UnauthorizedError{Err: err} }

// AnswerError is an answer in place of an event's.
type AnswerError struct {
	ContentType string
	Body        []byte
}

// Error names the content type alone: the body may hold a secret.
func (e *AnswerError) Error() string {
	return "the request is answered with " + e.ContentType + " and is no event"
}

// Answer returns an error by which an HTTP function has a request answered with status 200
// and this body, and makes no event of it: senders check an address in such ways.
func Answer(contentType string, body []byte) error {
	return &AnswerError{ContentType: contentType, Body: body}
}

// payloadError makes a decoder's error one that names the field.
func payloadError(err error) error {
	if se, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		detail := "has the wrong type"
		if se.GoType != nil {
			detail = fmt.Sprintf("must be %s, not %s", kindName(se.GoType.Kind().String()), jsonKind(se.JSONKind))
		}
		return &FieldError{Pointer: "/payload" + string(se.JSONPointer), Detail: detail}
	}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &FieldError{Pointer: "/payload" + string(se.JSONPointer), Detail: se.Err.Error()}
	}
	return &FieldError{Pointer: "/payload", Detail: err.Error()}
}

func kindName(goKind string) string {
	switch {
	case goKind == "string":
		return "a string"
	case goKind == "bool":
		return "true or false"
	case goKind == "slice", goKind == "array":
		return "an array"
	case goKind == "map", goKind == "struct":
		return "an object"
	case strings.HasPrefix(goKind, "int"), strings.HasPrefix(goKind, "uint"):
		return "a whole number in range"
	case strings.HasPrefix(goKind, "float"):
		return "a number"
	}
	return "of another type"
}

func jsonKind(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "this number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "this"
}
