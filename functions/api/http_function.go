package api

import (
	"context"
	"errors"
	"net/http"
	"os"

	"inturn/db"
	"inturn/functions"
)

// httpFunction mounts an HTTP function: it makes the event, the rest is as for one
// that was posted. The function authorizes the sender itself, so no token is asked for.
func (g *ingestion) httpFunction(f functions.Function) func(*exchange, *http.Request) error {
	_, fn := f.HTTP()
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
		if answer, ok := errors.AsType[*functions.AnswerError](err); ok {
			x.answer(http.StatusOK, []string{answer.ContentType}, answer.Body)
			return nil
		}
		if err != nil {
			return functionProblem(err)
		}
		x.clientID, x.messageID = ev.ClientID, ev.MessageID
		if ev.Payload != nil {
			if ev.Payload, err = compactPayload(ev.Payload); err != nil {
				return err
			}
		}
		receipt, err := g.take(x, r, ev)
		if p, ok := errors.AsType[*problem](err); ok && p.name == idReused.name && f.RepeatByID() {
			receipt, err = g.repeat(x, r, ev)
		}
		switch {
		case err != nil:
			return err
		case f.EmptyAnswer():
			x.WriteHeader(http.StatusOK)
		default:
			return g.answerWhenDone(x, r, receipt)
		}
		return nil
	}
}

// repeat returns the receipt of the event that has ev's identity, whatever its payload.
func (g *ingestion) repeat(x *exchange, r *http.Request, ev functions.Event) (db.Receipt, error) {
	first, err := g.store.Find(context.WithoutCancel(r.Context()), ev.ClientID, ev.MessageID)
	if err != nil {
		return db.Receipt{}, storeProblem(err)
	}
	x.seq = first.Seq
	offered(g.observer, true)
	x.offers = false
	return db.Receipt{ClientID: first.ClientID, MessageID: first.MessageID, Seq: first.Seq, Duplicate: true, State: first.State, Result: first.Result}, nil
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
		// authenticates its senders is not known here.
		p.challenge = `HTTP-Function realm="inturn"`
		return p
	}
	if fe, ok := errors.AsType[*functions.FieldError](err); ok {
		return eventProblem(fe)
	}
	return invalidEvent.withDetail("%s", cut(err.Error(), 1000))
}
