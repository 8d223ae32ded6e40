package api

import (
	"errors"
	"net/http"

	"inturn/functions"
)

// postEvents is POST /v1/events: one event in, one receipt out, or many of them.
// See form for how it is told which.
func (a *api) postEvents(x *exchange, r *http.Request) error {
	x.offers = true
	who, err := a.authorize(x, r, scopeIngest)
	if err != nil {
		return err
	}
	if a.stopped() {
		return shuttingDown.because("nothing was stored: resend in a moment")
	}
	form, err := formOf(r.Header)
	switch {
	case err != nil:
		return err
	case form == linesForm:
		x.offers = false // its lines do
		return a.postLines(x, r, who)
	case form == cloudBatchForm:
		x.body.max = a.MaxBody
	}
	e := newEnvelope()
	defer e.free()
	if err := a.readBody(x, r, &e.body); err != nil {
		return a.refuseBody(x, r, &e.body, err)
	}
	switch {
	case form == cloudBatchForm, form == plainForm && isArray(e.body.Bytes()):
		return a.postBatch(x, r, who, form == cloudBatchForm, e.body.Bytes())
	case form == plainForm:
		return a.postPlain(x, r, who, e)
	}
	return a.postCloudEvent(x, r, who, form, e)
}

// postPlain takes the plain form in e.body.
func (a *api) postPlain(x *exchange, r *http.Request, who *token, e *envelope) error {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	ev, err := e.event(key)
	x.clientID, x.messageID = ev.ClientID, ev.MessageID
	if err != nil {
		return err
	}
	if err := who.mayUse(ev.ClientID); err != nil {
		return err
	}
	return a.accept(x, r, ev)
}

// postCloudEvent takes one CloudEvent in e.body, structured or binary.
func (a *api) postCloudEvent(x *exchange, r *http.Request, who *token, form form, e *envelope) (err error) {
	var c cloudEvent
	defer func() { err = c.named(err) }()
	if form == cloudForm {
		err = e.cloudEvent(&c)
	} else {
		err = c.body(r.Header, e.body.Bytes())
	}
	if err != nil {
		return err
	}
	ev, err := c.event(traceAttrs(r.Header))
	x.clientID, x.messageID = ev.ClientID, ev.MessageID
	if err != nil {
		return err
	}
	switch key, err := idempotencyKey(r.Header); {
	case err != nil:
		return err
	case key != "" && key != c.id:
		return field("/id", "differs from the Idempotency-Key: leave that out, or send the same in both")
	}
	if err := who.mayUse(ev.ClientID); err != nil {
		return err
	}
	return a.accept(x, r, ev)
}

// accept checks ev, makes it durable and answers. Every single event goes through
// here, whichever way it came in.
func (a *api) accept(x *exchange, r *http.Request, ev functions.Event) error {
	ev, err := a.Functions.Check(ev)
	if err != nil {
		return eventProblem(err)
	}
	if err := a.mayCome(x, ev.ClientID); err != nil {
		return err
	}
	ev.RequestID = x.requestID
	if ev.Attrs == nil {
		ev.Attrs = traceAttrs(r.Header)
	}
	receipt, err := a.Store.Append(r.Context(), ev)
	x.body.release()
	if err != nil {
		if r.Context().Err() != nil { // a statement that was interrupted says so in words of its own
			err = errors.Join(r.Context().Err(), err)
		}
		return storeProblem(err)
	}
	x.seq = receipt.Seq
	a.Observer.Offered(resultOf(receipt.Duplicate))
	if receipt.Result == nil {
		if wait := preferredWait(r.Header); wait > 0 {
			a.waitFor(x, r, &receipt, wait)
		}
	}
	x.answerReceipt(receipt)
	return nil
}
