package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"inturn/db"
)

const (
	watchBatch = 256                   // notices that are read at once
	watchHeld  = smallAnswer           // bytes that a reader counts as among all answers
	watchPause = 20 * time.Millisecond // between two reads: what comes meanwhile is written together
	watchIdle  = 15 * time.Second      // after which a comment shows that the connection lives
)

var eventStream = []string{"text/event-stream"}

// watch is GET /v1/watch: server-sent events (HTML, section 9.2) of what is committed from
// now on, or since the Last-Event-ID,
//
//	id: 4KZ3XJQD-17
//	event: settled
//	data: {"client_id":"a","message_id":"1","seq":17,"type":"message","at":"…","run":1,"state":"done","attempts":1}
//
// in the order of commits. A reader that doesn't keep up gets `missed`, with the count of what
// it has not got; what a filter would have kept from it is in that count.
func (q *queries) watch(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	filter, err := newWatchFilter(x.query)
	if err != nil {
		return err
	}
	x.clientID = filter.clientID
	if err := tok.authorizeClient(filter.clientID); err != nil {
		return err
	}
	if q.feed == nil {
		return notFound.withDetail("this server can't be watched")
	}
	if err := x.hold(watchHeld); err != nil {
		return err
	}
	reader, known, err := q.feed.join(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	defer reader.leave()
	w := &watchWriter{x: x, rc: http.NewResponseController(x), stopping: q.stopping}
	h := x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = eventStream, noStore, noSniff
	h["X-Accel-Buffering"] = []string{"no"} // what else would keep the events in nginx
	w.text("retry: 1000\n\n")
	if !known {
		w.text("event: missed\ndata: {\"restarted\":true}\n\n")
	}
	_ = w.rc.SetReadDeadline(time.Time{}) // the request has come; net/http would end it when its time is over
	w.follow(r.Context(), reader, filter)
	return nil
}

// watchFilter selects notices. Empty fields select everything.
type watchFilter struct{ clientID, typ string }

func newWatchFilter(query map[string]string) (f watchFilter, err error) {
	for name, value := range query {
		if value, err = notEmpty(name, value); err != nil {
			return f, err
		}
		switch name {
		case "client_id":
			f.clientID = value
		case "type":
			f.typ = value
		}
	}
	return f, nil
}

func (f watchFilter) has(n *db.Notice) bool {
	return (f.clientID == "" || f.clientID == n.ClientID) && (f.typ == "" || f.typ == n.Type)
}

// watchWriter writes server-sent events.
type watchWriter struct {
	x        *exchange
	rc       *http.ResponseController
	stopping <-chan struct{} // closed when the server ends; nil: never
	buf      []byte
	err      error // the client is gone, or takes nothing
}

// follow writes what reader has until ctx or the server ends, or the client takes nothing for
// answerIdle.
func (w *watchWriter) follow(ctx context.Context, reader *feedReader, filter watchFilter) {
	list := make([]db.Notice, 0, watchBatch)
	idle := time.NewTimer(watchIdle)
	defer idle.Stop()
	for w.flush(); w.err == nil && ctx.Err() == nil && !stopped(w.stopping); w.flush() {
		got, first, missed, more := reader.read(list)
		if missed > 0 {
			w.missed(reader.cursor(first-1), missed)
		}
		for i := range got {
			if filter.has(&got[i]) {
				w.notice(reader.cursor(first+int64(i)), &got[i])
			}
		}
		if more == nil {
			if len(got) < watchBatch {
				w.pause(ctx)
			}
			continue
		}
		w.flush()
		idle.Reset(watchIdle)
		select {
		case <-more:
		case <-idle.C:
			w.text(": still here\n\n")
		case <-ctx.Done():
		case <-w.stopping:
		}
	}
}

// pause waits for watchPause after a batch that has been written, so that many readers don't
// wake with each commit.
func (w *watchWriter) pause(ctx context.Context) {
	w.flush()
	t := time.NewTimer(watchPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-w.stopping:
	}
}

func (w *watchWriter) text(s string) { w.buf = append(w.buf, s...) }

// flush sends what there is.
func (w *watchWriter) flush() {
	if len(w.buf) == 0 || w.err != nil {
		return
	}
	_ = w.rc.SetWriteDeadline(time.Now().Add(answerIdle)) // where there is none to set, there is no time-out either
	if _, w.err = w.x.Write(w.buf); w.err == nil {
		w.err = w.rc.Flush()
	}
	w.buf = w.buf[:0]
}

func (w *watchWriter) begin(id, event string) {
	w.text("id: ")
	w.text(id)
	w.text("\nevent: ")
	w.text(event)
	w.text("\ndata: ")
}

func (w *watchWriter) missed(id string, count int64) {
	w.begin(id, "missed")
	w.text(`{"count":`)
	w.buf = strconv.AppendInt(w.buf, count, 10)
	w.text("}\n\n")
}

// notice adds one event. JSON as appendText writes it has no line break in it.
func (w *watchWriter) notice(id string, n *db.Notice) {
	w.begin(id, string(n.Kind))
	w.text(`{"client_id":`)
	w.buf = appendText(w.buf, n.ClientID)
	w.text(`,"message_id":`)
	w.buf = appendText(w.buf, n.MessageID)
	w.text(`,"seq":`)
	w.buf = strconv.AppendInt(w.buf, n.Seq, 10)
	w.text(`,"type":`)
	w.buf = appendText(w.buf, n.Type)
	w.buf = appendTime(w.buf, "at", n.At)
	w.text(`,"run":`)
	w.buf = strconv.AppendInt(w.buf, n.Run, 10)
	if n.Kind != db.NoticeAccepted {
		w.text(`,"attempts":`)
		w.buf = strconv.AppendInt(w.buf, int64(n.Attempts), 10)
	}
	if n.State != "" {
		w.text(`,"state":`)
		w.buf = appendText(w.buf, string(n.State))
	}
	if !n.NextAt.IsZero() {
		w.buf = appendTime(w.buf, "next_at", n.NextAt)
	}
	if n.Error != "" {
		w.text(`,"error":`)
		w.buf = appendText(w.buf, n.Error)
	}
	w.text("}\n\n")
}
