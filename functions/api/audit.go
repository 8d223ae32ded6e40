package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"inturn/db"
)

// verbs is what ?verb= may say.
var verbs = []db.Verb{db.Pause, db.Resume, db.Retry, db.Skip, db.Redrive, db.Replay, db.Erasing}

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
	rows, err := q.store.Audit(ctx, filter)
	if err != nil {
		return readProblem(ctx, err)
	}
	body := []byte(`{"audit":[`)
	for i := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendAudited(body, &rows[i])
	}
	body = append(body, ']')
	if len(rows) == filter.Limit {
		body = append(body, `,"next":`...)
		body = strconv.AppendInt(body, rows[len(rows)-1].ID, 10)
	}
	x.answer(http.StatusOK, jsonType, append(body, "}\n"...))
	return nil
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
