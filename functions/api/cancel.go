package api

import (
	"net/http"

	"inturn/db"
)

var tooLate = kind{"too-late", http.StatusConflict, "The event runs or is finished", 0}

// cancelEvent is DELETE /v1/events/{client_id}/{message_id}: the event, which is pending,
// ends dead. The reason is the body's or the query's.
func (o *operations) cancelEvent(x *exchange, r *http.Request) error {
	tok, err := o.authorize(x, r, scopeOperate)
	if err != nil {
		return err
	}
	x.clientID, x.messageID = r.PathValue("client_id"), r.PathValue("message_id")
	if err := tok.authorizeClient(x.clientID); err != nil {
		return err
	}
	var body reasonBody
	if err := o.readAct(x, r, &body); err != nil {
		return err
	}
	if reason, given := x.query["reason"]; given {
		if body.Reason != "" {
			return parameter("reason", "is given in the body too: leave one out")
		}
		body.Reason = reason
	}
	var ev db.StoredEvent
	err = x.answers.one(r.Context(), func() (err error) {
		if ev, err = o.store.Find(r.Context(), x.clientID, x.messageID); err != nil {
			return err
		}
		return x.hold(ev.Size())
	})
	if err != nil {
		return readProblem(r.Context(), err)
	}
	return o.act(x, r, db.Command{Verb: db.Cancel, ClientID: x.clientID, Seq: ev.Seq, Who: tok.auditName(), Reason: body.Reason})
}
