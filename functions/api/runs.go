package api

import (
	"context"
	"net/http"
	"strconv"

	"inturn/db"
)

// runStep is how many runs are read at once: each has a result of up to db.MaxOutput bytes.
const runStep = 4

// listRuns is GET /v1/events/{client_id}/{message_id}/runs: how the event's earlier
// runs ended, those before a redrive or a replay, the first one first,
//
//	{"seq": 17, "runs": […], "next": run}
//
// next, if present, is `after` for the page that follows.
func (q *queries) listRuns(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	x.clientID, x.messageID = r.PathValue("client_id"), r.PathValue("message_id")
	if err := tok.authorizeClient(x.clientID); err != nil {
		return err
	}
	after, limit, err := runPage(x.query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	ev, err := q.store.Find(ctx, x.clientID, x.messageID)
	if err != nil {
		return readProblem(ctx, err)
	}
	seq := ev.Seq // of ev, which may be large, nothing else is kept
	x.seq = seq
	w := newAnswerWriter(x)
	w.text(`{"seq":`)
	w.buf = strconv.AppendInt(w.buf, seq, 10)
	w.text(`,"runs":[`)
	more := true
	for left := limit; left > 0 && more && w.size < maxPageBytes && w.err == nil; {
		step := min(left, runStep)
		var runs []db.Result
		err := x.answers.list(ctx, func() (err error) {
			if runs, err = q.store.Runs(ctx, seq, after, step); err != nil {
				return err
			}
			size := 0
			for i := range runs {
				size += runs[i].Size()
			}
			return x.hold(size)
		})
		if err != nil {
			if left == limit {
				return readProblem(ctx, err)
			}
			break // the page ends here: the next one says why
		}
		for i := range runs {
			if left < limit || i > 0 {
				w.text(",")
			}
			w.text(`{"state":`)
			w.buf = appendText(w.buf, string(runs[i].Status))
			w.run(&runs[i])
			w.text("}")
			w.spill()
			after = runs[i].Run
		}
		left -= len(runs)
		more = len(runs) == step
	}
	w.text("]")
	if more {
		w.text(`,"next":`)
		w.buf = strconv.AppendInt(w.buf, after, 10)
	}
	w.text("}\n")
	w.end()
	return nil
}

func runPage(query map[string]string) (after int64, limit int, err error) {
	limit = defaultPage
	for name, value := range query {
		switch name {
		case "after":
			after, err = seqParameter(name, value)
		case "limit":
			limit, err = limitParameter(name, value)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return after, limit, nil
}
