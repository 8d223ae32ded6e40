package api

import (
	"bytes"
	"context"
	"net/http"

	"inturn/db"
	"inturn/functions"
)

// postEvents is POST /v1/events: one event and its receipt, or many. The form of the
// request says which.
func (g *ingestion) postEvents(x *exchange, r *http.Request) error {
	x.offers = true
	tok, err := g.authorize(x, r, scopeIngest)
	if err != nil {
		return err
	}
	if stopped(g.stopping) {
		return shuttingDown.withDetail("nothing was stored: resend in a moment")
	}
	form, err := formOf(r.Header)
	if err == nil {
		err = checkOptions(x.query, form)
	}
	switch {
	case err != nil:
		return err
	case form == linesForm:
		x.offers = false // its lines do
		if err := refuseDeliverAt(r.Header); err != nil {
			return err
		}
		return g.postLines(x, r, tok)
	case form == cloudBatchForm:
		x.body.max = g.maxBody
	}
	e := newEnvelope()
	defer e.free()
	if err := g.readBody(x, r, &e.body); err != nil {
		return g.refuseBody(x, r, &e.body, err)
	}
	switch {
	case form == cloudBatchForm, form == plainForm && isArray(e.body.Bytes()):
		if err := refuseDeliverAt(r.Header); err != nil {
			return err
		}
		return g.postBatch(x, r, tok, form == cloudBatchForm, e.body.Bytes())
	case form == plainForm:
		return g.postPlain(x, r, tok, e)
	}
	return g.postCloudEvent(x, r, tok, form, e)
}

// isArray tells by the first byte whether JSON is an array.
func isArray(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && body[0] == '['
}

// checkOptions refuses values of ?on_error and ?answers that mean nothing for the form.
func checkOptions(query map[string]string, form form) error {
	if value, given := query["on_error"]; given && value != "continue" {
		return parameter("on_error", "must be continue, or left out")
	}
	if value, given := query["answers"]; given && (value != "refused" || form != linesForm) {
		return parameter("answers", "must be refused, for %s alone, or left out", typeLines)
	}
	return nil
}

// postPlain takes the plain form in e.body.
func (g *ingestion) postPlain(x *exchange, r *http.Request, tok *token, e *envelope) error {
	key := ""
	if r.Header["Idempotency-Key"] != nil {
		var err error
		if key, err = idempotencyKey(r.Header); err != nil {
			return err
		}
	}
	ev, err := e.event(key)
	x.clientID, x.messageID = ev.ClientID, ev.MessageID
	if err != nil {
		return err
	}
	if err := tok.authorizeClient(ev.ClientID); err != nil {
		return err
	}
	return g.accept(x, r, ev)
}

// postCloudEvent takes one CloudEvent in e.body, structured or binary.
func (g *ingestion) postCloudEvent(x *exchange, r *http.Request, tok *token, form form, e *envelope) (err error) {
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
	if err := tok.authorizeClient(ev.ClientID); err != nil {
		return err
	}
	return g.accept(x, r, ev)
}

// accept checks ev, makes it durable and answers. Every single event goes through
// here, whichever way it came in.
func (g *ingestion) accept(x *exchange, r *http.Request, ev functions.Event) error {
	receipt, err := g.take(x, r, ev)
	if err != nil {
		return err
	}
	return g.answerWhenDone(x, r, receipt)
}

// take checks ev and makes it durable.
func (g *ingestion) take(x *exchange, r *http.Request, ev functions.Event) (db.Receipt, error) {
	ev, err := deliverAtIn(r.Header, ev)
	if err != nil {
		return db.Receipt{}, err
	}
	ev, err = g.functions.set.Load().Check(ev)
	if err != nil {
		return db.Receipt{}, eventProblem(err)
	}
	if g.rates != nil {
		if err := g.allowRate(x, ev.ClientID); err != nil {
			return db.Receipt{}, err
		}
	}
	ev.RequestID = x.requestID
	if ev.Attrs == nil && r.Header["Traceparent"] != nil {
		ev.Attrs = traceAttrs(r.Header)
	}
	// A client that has ended its half of the connection still reads the answer.
	receipt, err := g.store.Append(context.WithoutCancel(r.Context()), ev)
	x.body.release()
	if err != nil {
		return db.Receipt{}, storeProblem(err)
	}
	x.seq = receipt.Seq
	offered(g.observer, receipt.Duplicate)
	x.offers = false // from here on only the answer can fail
	return receipt, nil
}

// answerWhenDone answers with a receipt, after the wait for the event's end that the
// request asks for.
func (g *ingestion) answerWhenDone(x *exchange, r *http.Request, receipt db.Receipt) error {
	if receipt.Result == nil && r.Header["Prefer"] != nil {
		if wait := preferredWait(r.Header); wait > 0 {
			g.waitFor(x, r, &receipt, wait)
		}
	}
	return x.answerReceipt(receipt)
}
