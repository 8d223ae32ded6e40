package api

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"inturn/db"
)

// eraseTime bounds an answer to an erasure, which deletes in many small steps. One
// that takes longer goes on, and may be asked for again.
const eraseTime = 10 * time.Minute

// erase is POST /v1/accounts/{client_id}/erase: everything of a client is deleted,
//
//	{"verb":"erase", "client":"sha256:…", "events":12, "pending":0, "rows":{"messages":12}, "in_wal":false}
//
// client is how the audit names it from now on.
func (o *operations) erase(x *exchange, r *http.Request) error {
	tok, err := o.authorize(x, r, scopeOperate)
	if err != nil {
		return err
	}
	clientID := r.PathValue("client_id")
	if err := tok.authorizeClient(clientID); err != nil {
		return err
	}
	var body reasonBody
	if err := o.readAct(x, r, &body); err != nil {
		return err
	}
	if err := cmp.Or(reasonField(body.Reason), noKey(r.Header)); err != nil {
		return err
	}
	// An answer that can't be written is no reason to leave it half done.
	_ = http.NewResponseController(x).SetWriteDeadline(time.Now().Add(eraseTime))
	done, err := o.store.Erase(clientID, tok.auditName(), body.Reason)
	if err != nil {
		p := actProblem(err)
		if errors.Is(err, db.ErrErasing) {
			p.detail = "this client is being erased already: send the same again in a moment"
		}
		return p
	}
	o.log.LogAttrs(r.Context(), slog.LevelInfo, "an operator erased a client", slog.String("request_id", x.requestID),
		slog.String("token_name", tok.auditName()), slog.String("client", done.Client), slog.Int64("events", done.Events))
	b := []byte(`{"verb":"erase","client":`)
	b = appendText(b, done.Client)
	b = append(b, `,"events":`...)
	b = strconv.AppendInt(b, done.Events, 10)
	b = append(b, `,"pending":`...)
	b = strconv.AppendInt(b, done.Pending, 10)
	b = append(b, `,"rows":{`...)
	for i, table := range slices.Sorted(maps.Keys(done.Rows)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, table), ':')
		b = strconv.AppendInt(b, done.Rows[table], 10)
	}
	b = append(b, `},"in_wal":`...)
	b = strconv.AppendBool(b, done.InWAL)
	x.answer(http.StatusOK, jsonType, append(b, "}\n"...))
	return nil
}

// noKey refuses an Idempotency-Key where it would mean nothing: an erasure may be sent
// again without one.
func noKey(h http.Header) error {
	if h["Idempotency-Key"] == nil {
		return nil
	}
	return invalidRequest.withDetail("Idempotency-Key is not for an erasure, which may be sent again without one")
}
