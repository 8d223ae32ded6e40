package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"inturn/db"
)

// verbs is what ?verb= may say.
var verbs = []db.Verb{db.Pause, db.Resume, db.Retry, db.Skip, db.Redrive, db.Replay, db.Cancel, db.Erasing}

// auditStep is how many rows are read at once: each has a reason of up to maxReason bytes.
const auditStep = 50

// listAudit is GET /v1/audit: what operators did, the newest first,
//
//	{"audit": […], "next": id}
//
// next, if present, is `before` for the page that follows. It needs the scope
// operate, because reasons are people's own words.
func (q *queries) listAudit(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeOperate)
	if err != nil {
		return err
	}
	filter, err := auditFilter(x.query)
	if err != nil {
		return err
	}
	x.clientID = filter.ClientID
	if err := tok.authorizeClient(filter.ClientID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	w := newAnswerWriter(x)
	w.text(`{"audit":[`)
	limit, more := filter.Limit, true
	for left := limit; left > 0 && more && w.err == nil; {
		filter.Limit = min(left, auditStep)
		var rows []db.AuditEntry
		err := x.answers.list(ctx, func() (err error) {
			if rows, err = q.store.Audit(ctx, filter); err != nil {
				return err
			}
			return x.hold(sizeOfAudit(rows))
		})
		if err != nil {
			if left == limit {
				return readProblem(ctx, err)
			}
			break // the page ends here: the next one says why
		}
		for i := range rows {
			if left < limit || i > 0 {
				w.text(",")
			}
			w.buf = appendAudited(w.buf, &rows[i])
			w.spill()
			filter.Before = rows[i].ID
		}
		left -= len(rows)
		more = len(rows) == filter.Limit
	}
	w.text("]")
	if more {
		w.text(`,"next":`)
		w.buf = strconv.AppendInt(w.buf, filter.Before, 10)
	}
	w.text("}\n")
	w.end()
	return nil
}

func sizeOfAudit(rows []db.AuditEntry) (n int) {
	for i := range rows {
		c := &rows[i].Command
		n += len(c.Who) + len(c.ClientID) + len(c.Type) + len(c.Reason) + len(c.Key) + len(rows[i].Answer)
	}
	return n
}

func auditFilter(query map[string]string) (f db.AuditFilter, err error) {
	f.Limit = defaultPage
	for name, value := range query {
		switch name {
		case "client_id":
			f.ClientID, err = notEmpty(name, value)
		case "verb":
			if f.Verb = db.Verb(value); !slices.Contains(verbs, f.Verb) {
				err = parameter(name, "must be one of %v", verbs)
			}
		case "before":
			f.Before, err = seqParameter(name, value)
		case "limit":
			f.Limit, err = limitParameter(name, value)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// appendAudited leaves out what the verb doesn't take.
func appendAudited(b []byte, row *db.AuditEntry) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, row.ID, 10)
	b = appendTime(b, "at", row.At)
	for _, text := range []struct{ name, value string }{
		{"who", row.Command.Who}, {"verb", string(row.Command.Verb)}, {"client_id", row.Command.ClientID}, {"type", row.Command.Type}, {"reason", row.Command.Reason},
	} {
		if text.value != "" || text.name == "who" || text.name == "reason" {
			b = append(append(append(b, `,"`...), text.name...), `":`...)
			b = appendText(b, text.value)
		}
	}
	for _, n := range []struct {
		name  string
		value int64
	}{{"seq", row.Command.Seq}, {"run", row.Command.Run}, {"to", row.Command.To}, {"bulk", row.Bulk}} {
		if n.value != 0 {
			b = append(append(append(b, `,"`...), n.name...), `":`...)
			b = strconv.AppendInt(b, n.value, 10)
		}
	}
	b = append(b, `,"answer":`...)
	if len(row.Answer) == 0 {
		return append(b, "{}}"...)
	}
	return append(append(b, row.Answer...), '}')
}
