package sqlite

import (
	"strings"
	"sync/atomic"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/q"
)

// Watch sets the function that hears what each commit did with events, in the order in which
// that was done. It is called as OnAppend's is. nil, as at first, is nobody: then nothing is
// collected. Of the commit during which Watch is called it may hear a part.
func (d *DB) Watch(fn func([]db.Notice)) {
	if fn == nil {
		d.w.notices.watcher.Store(nil)
		return
	}
	d.w.notices.watcher.Store(&fn)
}

// notices is what the transaction did with events, as far as anybody wants to hear of it.
type notices struct {
	watcher atomic.Pointer[func([]db.Notice)]
	list    []db.Notice
}

func (n *notices) watched() bool { return n.watcher.Load() != nil }

// tell hands over what was collected, after the commit.
func (n *notices) tell() {
	if fn := n.watcher.Load(); fn != nil && len(n.list) > 0 {
		(*fn)(n.list)
	}
}

// maxNotices is how many notices the memory of a transaction keeps room for.
const maxNotices = 1024

// reset forgets what was collected, and the memory of a transaction that was large.
func (n *notices) reset() {
	clear(n.list)
	if n.list = n.list[:0]; cap(n.list) > maxNotices && !n.watched() {
		n.list = nil
	}
}

func (n *notices) rollback(length int) { n.list = n.list[:min(length, len(n.list))] }

// accepted notes a new event.
func (n *notices) accepted(ev *db.Event) {
	if n.watched() {
		n.list = append(n.list, db.Notice{
			Kind: db.NoticeAccepted, At: ev.ReceivedAt, Seq: ev.Seq, Run: 1,
			ClientID: strings.Clone(ev.ClientID), MessageID: strings.Clone(ev.MessageID), Type: strings.Clone(ev.Type),
		})
	}
}

// settled notes the end of a run.
func (n *notices) settled(clientID, messageID, typ string, r *q.Result) {
	if n.watched() {
		n.list = append(n.list, db.Notice{
			Kind: db.NoticeSettled, At: unixMicro(r.FinishedAt), Seq: r.Seq, Run: r.Run, State: db.State(r.Status), Attempts: int(r.Attempts),
			ClientID: strings.Clone(clientID), MessageID: strings.Clone(messageID), Type: strings.Clone(typ), Error: noticeError(r.Error.String),
		})
	}
}

// held notes an attempt that settled nothing.
func (n *notices) held(now int64, h *db.Hold) {
	if h.Ahead || !n.watched() {
		return
	}
	notice := db.Notice{
		Kind: db.NoticeRetrying, At: unixMicro(now), Seq: h.Event.Seq, Run: h.Event.Run, Attempts: h.Attempts, NextAt: h.NextAt.UTC().Truncate(time.Microsecond),
		ClientID: strings.Clone(h.Event.ClientID), MessageID: strings.Clone(h.Event.MessageID), Type: strings.Clone(h.Event.Type), Error: noticeError(h.Error),
	}
	if h.Park {
		notice.Kind, notice.NextAt = db.NoticeParked, time.Time{}
	}
	n.list = append(n.list, notice)
}

// noticeError returns the beginning of an error, as a copy: the whole may be large.
func noticeError(text string) string {
	return strings.Clone(strings.ToValidUTF8(text[:min(len(text), db.MaxNoticeError)], ""))
}
