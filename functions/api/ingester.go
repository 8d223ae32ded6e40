package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"inturn/db"
)

// ingester takes the events of one request that has many: it keeps their order and
// answers each.
type ingester struct {
	*ingestion
	token     *token
	requestID string
	trace     []byte // attrs of the request's traceparent, or nil
	cloud     bool   // items are CloudEvents
	order     *order

	// patience is how long an event waits for the storage to have room before it is
	// refused; forever also waits for the room of its account.
	patience time.Duration
}

const forever = 1<<63 - 1

// newIngester takes ?on_error, with which events of an account are taken also behind one
// that was refused.
func (g *ingestion) newIngester(x *exchange, r *http.Request, tok *token) *ingester {
	t := &ingester{ingestion: g, token: tok, requestID: x.requestID, trace: traceAttrs(r.Header), order: &order{}}
	if x.query["on_error"] == "continue" {
		t.order = nil
	}
	return t
}

// take makes the events of items durable, as one transaction, and returns an answer
// for each, in order. With an error, and where the server stops before a patient
// ingester had room, some are open.
func (t *ingester) take(ctx context.Context, items []item) ([]answer, error) {
	answers := make([]answer, len(items))
	events, at := make([]db.Event, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		it, a := &items[i], &answers[i]
		a.clientID, a.messageID = it.event.ClientID, it.event.MessageID
		if a.clientID == "" {
			a.clientID = it.account
		}
		switch {
		case t.order.holds(it.account) && !it.unread:
			a.problem = storeProblem(db.ErrNotAttempted)
		case it.problem != nil:
			a.problem = it.problem
			t.order.refuse(it.account)
		default:
			if a.problem = t.allowRate(ctx, it.account); a.problem != nil {
				t.order.refuse(it.account)
				break
			}
			a.open = true
			events, at = append(events, it.event), append(at, i)
		}
	}
	err := t.append(ctx, events, at, answers)
	t.overtaken(items, answers)
	return answers, err
}

// refuseOpen gives the open answers the reason why they can't be had.
func (t *ingester) refuseOpen(items []item, answers []answer, err error) {
	var here *order // what was refused before, among these
	if t.order != nil {
		here = &order{}
	}
	for i := range answers {
		a, account := &answers[i], items[i].account
		if a.open {
			a.open = false
			if a.problem = storeProblem(err); here.holds(account) {
				a.problem = storeProblem(db.ErrNotAttempted)
			}
			t.order.refuse(account)
		}
		if a.problem != nil {
			here.refuse(account)
		}
	}
}

// count notes an answer that is given for the log line and the counters.
func (t *ingester) count(x *exchange, a *answer) {
	p := a.problem
	x.tally.add(a)
	if p == nil {
		offered(t.observer, a.receipt.Duplicate)
		return
	}
	t.observer.Offered(p.result())
	t.observer.Problem(p.name)
	if p.cause != nil && p.status >= http.StatusInternalServerError {
		x.problem = p // the last one; only its cause is logged
	}
}

// append asks the storage for the answers of events, again and again while some
// have to wait for room and there is patience for it.
func (t *ingester) append(ctx context.Context, events []db.Event, at []int, answers []answer) error {
	deadline := time.Now().Add(t.patience)
	for pause := 10 * time.Millisecond; len(events) > 0; pause = min(2*pause, time.Second) {
		patient := t.patience == forever || time.Now().Before(deadline)
		batch := db.Batch{Events: events}
		if t.order != nil {
			batch.Refused = map[string]bool{}
		}
		results, err := t.store.AppendBatch(ctx, batch)
		switch {
		case err == nil:
			events, at = t.settle(events, at, results, answers, patient)
		case !patient || !errors.Is(err, db.ErrOverloaded) && !errors.Is(err, db.ErrStorageFull):
			if ctx.Err() != nil {
				err = errors.Join(ctx.Err(), err)
			}
			return err
		}
		if len(events) == 0 {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		case <-t.stopping:
			if t.patience == forever {
				return nil // they stay open
			}
			return db.ErrClosed
		}
	}
	return nil
}

// settle gives the answers that the storage had, and returns what has to wait.
func (t *ingester) settle(events []db.Event, at []int, results []db.AppendResult, answers []answer, patient bool) ([]db.Event, []int) {
	waits := func(err error) bool {
		return patient && (errors.Is(err, db.ErrBacklogFull) || errors.Is(err, db.ErrAccountFull) && t.patience == forever)
	}
	var later []db.Event
	var laterAt []int
	waiting := map[string]bool{} // accounts of which an event waits
	for k, r := range results {
		a, account := &answers[at[k]], events[k].ClientID
		if waits(r.Err) || errors.Is(r.Err, db.ErrNotAttempted) && waiting[account] {
			waiting[account] = true
			later, laterAt = append(later, events[k]), append(laterAt, at[k])
			continue
		}
		a.open = false
		if r.Err == nil {
			a.receipt = r.Receipt
			continue
		}
		a.problem = storeProblem(r.Err)
		t.order.refuse(account)
	}
	return later, laterAt
}

// overtaken finds items that were refused before the storage was asked and stand
// behind one of their account that it refused: they too were not attempted.
func (t *ingester) overtaken(items []item, answers []answer) {
	if t.order == nil {
		return
	}
	refused := map[string]bool{}
	for i := range answers {
		account := items[i].account
		switch p := answers[i].problem; {
		case p == nil:
		case items[i].problem != nil && refused[account]:
			answers[i].problem = storeProblem(db.ErrNotAttempted)
		case account != "":
			refused[account] = true
		}
	}
}
