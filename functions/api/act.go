package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"inturn/db"
	"inturn/functions"
)

// The problems of operators' verbs.
var (
	headMoved       = kind{"head-moved", http.StatusConflict, "Another event is the head of this account", 0}
	notDead         = kind{"not-dead", http.StatusConflict, "The event is not dead", 0}
	stillPending    = kind{"still-pending", http.StatusConflict, "The event has yet to run", 0}
	eventGone       = kind{"gone", http.StatusGone, "The event is not kept any more", 0}
	nothingToReplay = kind{"nothing-to-replay", http.StatusConflict, "There is nothing to replay", 0}
	replaying       = kind{"replaying", http.StatusConflict, "The account is being replayed already", 0}
	keyReused       = kind{"key-reused", http.StatusUnprocessableEntity, "The Idempotency-Key was used for something else", 0}
)

// actProblem translates what the storage says of an operator's act. Every act may be
// sent again, so an unknown outcome is no reason to be afraid.
func actProblem(err error) *problem {
	var moved *db.HeadMovedError
	switch {
	case errors.As(err, &moved):
		p := headMoved.withDetail("nothing was changed: nothing of this account is pending")
		if moved.Seq != 0 {
			p = headMoved.withDetail("nothing was changed: the head is seq %d now; look at it, then name it", moved.Seq)
		}
		p.seq = moved.Seq
		return p
	case errors.Is(err, db.ErrNotDead):
		return notDead.withDetail("nothing was changed: the event is done; to run it again, replay its account from this seq to this seq")
	case errors.Is(err, db.ErrStillPending):
		return stillPending.withDetail("nothing was changed: the event is pending and runs when its turn comes")
	case errors.Is(err, db.ErrTooLate):
		return tooLate.withDetail("nothing was changed: a function works on the event, or it is finished")
	case errors.Is(err, db.ErrGone):
		return eventGone.withDetail("nothing was changed: the event was deleted (--retention)")
	case errors.Is(err, db.ErrNothingToReplay):
		return nothingToReplay.withDetail("nothing was changed: no finished event of this range is kept")
	case errors.Is(err, db.ErrReplaying):
		return replaying.withDetail("nothing was changed: wait for the end of the replay before")
	case errors.Is(err, db.ErrKeyReused):
		return keyReused.withDetail("nothing was changed: an act with other fields had this Idempotency-Key: use a new one")
	case errors.Is(err, db.ErrBadCommand):
		return invalidRequest.withDetail("%s", cut(err.Error(), 1000))
	case errors.Is(err, db.ErrNotFound):
		return notFound.withDetail("this client_id, or this seq, never was")
	}
	p := storeProblem(err)
	if p.name == outcomeUnknown.name {
		p.detail = "send the same again: it is never done twice"
	}
	return p
}

// actBody is what an operator says of one account or event. The endpoints have the
// fields that they take.
type actBody struct {
	Seq    int64  `json:"seq"`
	Reason string `json:"reason"`
}

type reasonBody struct {
	Reason string `json:"reason"`
}

// replayBody is the body of a replay: of the events from..to of those that are
// finished; 0 stands for the first and the newest.
type replayBody struct {
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	DryRun bool   `json:"dry_run"`
	Reason string `json:"reason"`
}

// actOnAccount is POST /v1/accounts/{client_id}/pause|resume|retry|skip|replay.
func (o *operations) actOnAccount(verb db.Verb) func(*exchange, *http.Request) error {
	return func(x *exchange, r *http.Request) error {
		tok, err := o.authorize(x, r, scopeOperate)
		if err != nil {
			return err
		}
		act := db.Command{Verb: verb, ClientID: r.PathValue("client_id"), Who: tok.auditName()}
		x.clientID = act.ClientID
		if err := tok.authorizeClient(act.ClientID); err != nil {
			return err
		}
		switch verb {
		case db.Retry, db.Skip:
			var body actBody
			if err := o.readAct(x, r, &body); err != nil {
				return err
			}
			if err := seqField("seq", body.Seq, true); err != nil {
				return err
			}
			act.Seq, act.Reason = body.Seq, body.Reason
		case db.Replay:
			var body replayBody
			if err := o.readAct(x, r, &body); err != nil {
				return err
			}
			if err := cmp.Or(seqField("from", body.From, false), seqField("to", body.To, false)); err != nil {
				return err
			}
			if body.To != 0 && body.To < body.From {
				return actField("/to", "must not be less than from")
			}
			act.Seq, act.To, act.Reason = body.From, body.To, body.Reason
			if body.DryRun {
				return o.countReplay(x, r, act)
			}
		default:
			if err := functions.CheckClientID(act.ClientID); err != nil {
				return parameter("client_id", "%s", err) // a pause would make the account
			}
			var body reasonBody
			if err := o.readAct(x, r, &body); err != nil {
				return err
			}
			act.Reason = body.Reason
		}
		return o.act(x, r, act)
	}
}

// countReplay answers what a replay would do, in the form of a bulk's dry run.
func (o *operations) countReplay(x *exchange, r *http.Request, act db.Command) error {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	if _, err := o.store.Account(ctx, act.ClientID); err != nil {
		return actProblem(err)
	}
	n, err := o.store.Replayable(ctx, act.ClientID, act.Seq, act.To)
	if err != nil {
		return readProblem(ctx, err)
	}
	x.answer(http.StatusOK, jsonType, fmt.Appendf(nil, `{"verb":"replay","dry_run":true,"duplicate":false,"count":%d,"more":false}`+"\n", n))
	return nil
}

// actOnType is POST /v1/types/{type}/pause|resume.
func (o *operations) actOnType(verb db.Verb) func(*exchange, *http.Request) error {
	return func(x *exchange, r *http.Request) error {
		return o.actOnMany(x, r, db.Command{Verb: verb, Type: r.PathValue("type")})
	}
}

// actOnEverything is POST /v1/pause|resume.
func (o *operations) actOnEverything(verb db.Verb) func(*exchange, *http.Request) error {
	return func(x *exchange, r *http.Request) error {
		return o.actOnMany(x, r, db.Command{Verb: verb})
	}
}

func (o *operations) actOnMany(x *exchange, r *http.Request, act db.Command) error {
	tok, err := o.authorize(x, r, scopeOperate)
	if err != nil {
		return err
	}
	if err := tok.authorizeAll(); err != nil {
		return err
	}
	if _, known := o.functions.Get(act.Type); act.Type != "" && act.Verb == db.Pause && !known {
		return notFound.withDetail("there is no function for type %.100q; GET /v1/types lists them", act.Type)
	}
	var body reasonBody
	if err := o.readAct(x, r, &body); err != nil {
		return err
	}
	act.Who, act.Reason = tok.auditName(), body.Reason
	return o.act(x, r, act)
}

// act does it and answers with what came of it, and the account's state after it.
func (o *operations) act(x *exchange, r *http.Request, act db.Command) error {
	x.seq = act.Seq
	if err := reasonField(act.Reason); err != nil {
		return err
	}
	var err error
	if act.Key, err = actKey(r.Header); err != nil {
		return err
	}
	// A client that has ended its half of the connection still reads the answer.
	ctx := context.WithoutCancel(r.Context())
	acted, err := o.store.Execute(ctx, act)
	if err != nil {
		return actProblem(err)
	}
	x.clientID = acted.ClientID
	// Without the reason, which is a person's own words.
	o.log.LogAttrs(r.Context(), slog.LevelInfo, "an operator acted", slog.String("request_id", x.requestID),
		slog.String("verb", string(act.Verb)), slog.String("token_name", act.Who), slog.String("client_id", cut(acted.ClientID, 256)),
		slog.String("type", act.Type), slog.Int64("seq", acted.Seq), slog.Bool("changed", acted.Changed), slog.Int64("audit", acted.ID))
	x.answer(http.StatusOK, jsonType, append(o.appendActed(ctx, nil, act, acted), '\n'))
	return nil
}

// appendActed gives the answer to an act. The account is left out where it can't be
// read: the act is done all the same.
func (o *operations) appendActed(ctx context.Context, b []byte, act db.Command, acted db.CommandResult) []byte {
	b = append(b, `{"verb":`...)
	b = appendText(b, string(act.Verb))
	b = append(b, `,"changed":`...)
	b = strconv.AppendBool(b, acted.Changed)
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendBool(b, acted.Again)
	b = append(b, `,"audit":`...)
	b = strconv.AppendInt(b, acted.ID, 10)
	b = appendTime(b, "at", acted.At)
	for _, n := range []struct {
		name  string
		value int64
	}{{"seq", acted.Seq}, {"run", acted.Run}, {"to", acted.To}, {"events", acted.Events}} {
		if n.value != 0 {
			b = append(append(append(b, `,"`...), n.name...), `":`...)
			b = strconv.AppendInt(b, n.value, 10)
		}
	}
	if act.Verb == db.Cancel {
		b = append(b, `,"state":`...)
		b = appendText(b, string(db.Dead))
	}
	if act.Type != "" {
		b = append(b, `,"type":`...)
		b = appendText(b, act.Type)
	}
	if acted.ClientID != "" {
		if account, err := o.store.Account(ctx, acted.ClientID); err == nil {
			b = append(b, `,"account":`...)
			b = appendAccount(b, account, o.accounts.state(account))
		}
	}
	return append(b, '}')
}
