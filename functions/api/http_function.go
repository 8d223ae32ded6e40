package api

import (
	"errors"
	"net/http"
	"os"

	"inturn/functions"
)

// httpFunction mounts an HTTP function: it makes the event, the rest is as for one
// that was posted. It decides by itself who may send, so no token is asked.
func (g *ingestion) httpFunction(fn func(*http.Request) (functions.Event, error)) func(*exchange, *http.Request) error {
	return func(x *exchange, r *http.Request) error {
		x.offers = true
		if stopped(g.stopping) {
			return shuttingDown.withDetail("nothing was stored: resend in a moment")
		}
		if r.ContentLength > g.maxEvent {
			return bodyProblem(&http.MaxBytesError{Limit: g.maxEvent})
		}
		r.Body = &x.body
		ev, err := fn(r)
		if err != nil {
			return functionProblem(err)
		}
		x.clientID, x.messageID = ev.ClientID, ev.MessageID
		if ev.Payload != nil {
			if ev.Payload, err = compactPayload(ev.Payload); err != nil {
				return err
			}
		}
		return g.accept(x, r, ev)
	}
}

// functionProblem translates an HTTP function's error. Its text is for the sender.
func functionProblem(err error) *problem {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) || errors.Is(err, errHeld) || errors.Is(err, os.ErrDeadlineExceeded) {
		return bodyProblem(err)
	}
	if ue, ok := errors.AsType[*functions.UnauthorizedError](err); ok {
		p := unauthorized.withDetail("%s", cut(ue.Error(), 1000))
		// A 401 must have a challenge (RFC 9110, section 15.5.2). How the function
		// wants to be shown who sends is not known here.
		p.challenge = `HTTP-Function realm="inturn"`
		return p
	}
	if fe, ok := errors.AsType[*functions.FieldError](err); ok {
		return eventProblem(fe)
	}
	return invalidEvent.withDetail("%s", cut(err.Error(), 1000))
}
