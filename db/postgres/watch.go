package postgres

import (
	"strings"
	"time"

	"inturn/db"
)

// Watch sets the function that hears what each commit did with events: those that are new
// first. It is called as OnAppend's is. nil, as at first, is nobody.
func (d *DB) Watch(fn func([]db.Notice)) {
	if fn == nil {
		d.watcher.Store(nil)
		return
	}
	d.watcher.Store(&fn)
}

// notify hands over what a commit did.
func (d *DB) notify(c *delta) {
	fn := d.watcher.Load()
	if fn == nil || len(c.published)+len(c.notices) == 0 {
		return
	}
	list := make([]db.Notice, 0, len(c.published)+len(c.notices))
	for i := range c.published {
		ev := &c.published[i]
		list = append(list, db.Notice{
			Kind: db.NoticeAccepted, At: ev.ReceivedAt, Seq: ev.Seq, Run: 1,
			ClientID: strings.Clone(ev.ClientID), MessageID: strings.Clone(ev.MessageID), Type: strings.Clone(ev.Type),
		})
	}
	(*fn)(append(list, c.notices...))
}

// ended notes the end of a run.
func (d *delta) ended(clientID, messageID, typ string, s *settled) {
	d.notices = append(d.notices, db.Notice{
		Kind: db.NoticeSettled, At: unixMicro(s.finished), Seq: s.seq, Run: s.run, State: db.State(s.status), Attempts: int(s.attempts),
		ClientID: strings.Clone(clientID), MessageID: strings.Clone(messageID), Type: strings.Clone(typ), Error: noticeError(textOf(s.reason)),
	})
}

// held notes an attempt that settled nothing.
func (d *delta) held(now int64, h *db.Hold) {
	if h.Ahead {
		return
	}
	n := db.Notice{
		Kind: db.NoticeRetrying, At: unixMicro(now), Seq: h.Event.Seq, Run: h.Event.Run, Attempts: h.Attempts, NextAt: h.NextAt.UTC().Truncate(time.Microsecond),
		ClientID: strings.Clone(h.Event.ClientID), MessageID: strings.Clone(h.Event.MessageID), Type: strings.Clone(h.Event.Type), Error: noticeError(h.Error),
	}
	if h.Park {
		n.Kind, n.NextAt = db.NoticeParked, time.Time{}
	}
	d.notices = append(d.notices, n)
}

// noticeError returns the beginning of an error, as a copy: the whole may be large.
func noticeError(text string) string {
	return strings.Clone(strings.ToValidUTF8(text[:min(len(text), db.MaxNoticeError)], ""))
}
