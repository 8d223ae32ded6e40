package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"inturn/db"
)

// bulkTime bounds one answer to a bulk. What is left then is done by sending the same
// again with the key that the answer names.
const bulkTime = 10 * time.Second

// bulkBody selects the parked accounts that a retry or a skip is for.
type bulkBody struct {
	All    bool   `json:"all"`
	Type   string `json:"type"` // of the head
	DryRun bool   `json:"dry_run"`
	Reason string `json:"reason"`
}

// actOnParked is POST /v1/accounts/retry|skip: of every parked account, or of those
// whose head has a type.
func (o *operations) actOnParked(verb db.Verb) func(*exchange, *http.Request) error {
	return func(x *exchange, r *http.Request) error {
		tok, err := o.authorize(x, r, scopeOperate)
		if err != nil {
			return err
		}
		if tok.clientIDs != nil {
			return forbidden.withDetail("this token is for some client_ids only: name each account in the path")
		}
		var body bulkBody
		if err := o.readAct(x, r, &body); err != nil {
			return err
		}
		if !body.All && body.Type == "" {
			return actField("", `selects nothing: say which by "type", or "all":true`)
		}
		return o.bulk(x, r, db.BulkCommand{Verb: verb, Type: body.Type, DryRun: body.DryRun, Who: tok.auditName(), Reason: body.Reason})
	}
}

// redriveBody names one dead event by its seq, or many by the other fields.
type redriveBody struct {
	Seq      int64     `json:"seq"`
	Run      int64     `json:"run"`
	ClientID string    `json:"client_id"`
	All      bool      `json:"all"`
	Type     string    `json:"type"`
	Since    time.Time `json:"since"`
	DryRun   bool      `json:"dry_run"`
	Reason   string    `json:"reason"`
}

// redrive is POST /v1/dead/redrive: of one event, or in bulk.
func (o *operations) redrive(x *exchange, r *http.Request) error {
	tok, err := o.authorize(x, r, scopeOperate)
	if err != nil {
		return err
	}
	var body redriveBody
	if err := o.readAct(x, r, &body); err != nil {
		return err
	}
	x.clientID = body.ClientID
	if err := tok.authorizeClient(body.ClientID); err != nil {
		return err
	}
	if err := cmp.Or(seqField("seq", body.Seq, false), seqField("run", body.Run, false)); err != nil {
		return err
	}
	many := body.All || body.Type != "" || !body.Since.IsZero() || body.DryRun
	switch {
	case body.Seq != 0 && many:
		return actField("/seq", "names one event: leave out all, type, since and dry_run, which are for many")
	case body.Seq != 0:
		return o.act(x, r, db.Command{Verb: db.Redrive, ClientID: body.ClientID, Seq: body.Seq, Run: body.Run, Who: tok.auditName(), Reason: body.Reason})
	case body.Run != 0:
		return actField("/run", "belongs to a seq: name both, or neither")
	case !body.All && body.Type == "" && body.ClientID == "" && body.Since.IsZero():
		return actField("", `selects nothing: name an event by "seq", or select many by "type", "client_id" and "since", or "all":true`)
	}
	return o.bulk(x, r, db.BulkCommand{Verb: db.Redrive, ClientID: body.ClientID, Type: body.Type, Since: body.Since,
		DryRun: body.DryRun, Who: tok.auditName(), Reason: body.Reason})
}

// bulk does as much of b as there is time for, and says whether that was all:
//
//	{"verb":"retry", "dry_run":false, "count":12, "more":false, "key":"…", "audit":7}
//
// With more the same request with key as its Idempotency-Key goes on where this one
// ended, also after a crash, and does nothing twice.
func (o *operations) bulk(x *exchange, r *http.Request, b db.BulkCommand) error {
	if err := reasonField(b.Reason); err != nil {
		return err
	}
	key, err := actKey(r.Header)
	if err != nil {
		return err
	}
	if key == "" && !b.DryRun {
		key = rand.Text()
	}
	b.Key = key
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), bulkTime) // as in act
	defer cancel()
	done, err := o.store.ExecuteAll(ctx, b)
	more := err != nil && ctx.Err() != nil
	if err != nil && !more {
		return actProblem(err)
	}
	o.log.LogAttrs(ctx, slog.LevelInfo, "an operator acted on many", slog.String("request_id", x.requestID),
		slog.String("verb", string(b.Verb)), slog.String("token_name", b.Who), slog.String("client_id", cut(b.ClientID, 256)),
		slog.String("type", cut(b.Type, 256)), slog.Bool("dry_run", b.DryRun), slog.Int64("count", done.Count), slog.Bool("more", more), slog.Int64("audit", done.ID))
	body := append([]byte(`{"verb":`), `"`+string(b.Verb)+`"`...)
	body = append(body, `,"dry_run":`...)
	body = strconv.AppendBool(body, b.DryRun)
	body = append(body, `,"duplicate":`...)
	body = strconv.AppendBool(body, done.Again)
	body = append(body, `,"count":`...)
	body = strconv.AppendInt(body, done.Count, 10)
	body = append(body, `,"more":`...)
	body = strconv.AppendBool(body, more)
	if b.Key != "" {
		body = append(body, `,"key":`...)
		body = appendText(body, b.Key)
	}
	if done.ID != 0 {
		body = append(body, `,"audit":`...)
		body = strconv.AppendInt(body, done.ID, 10)
	}
	x.answer(http.StatusOK, jsonType, append(body, "}\n"...))
	return nil
}
