package sqlite

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"inturn/db"
)

// Events lists the events that f selects, in seq order, or with f.Newest in the reverse of it.
// A filter that few events match may read much of the file: the read ends with an error after
// readTime.
func (r *reader) Events(ctx context.Context, f db.Filter) (list []db.StoredEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer release()
	left, bytes := page(f.Limit), f.MaxBytes
	for _, p := range r.parts(f) {
		from, order, args := p.query(f)
		more, err := r.stored(ctx, from, order, left, bytes, args)
		if list = append(list, more...); err != nil {
			return list, err
		}
		if left -= len(more); left == 0 {
			break
		}
		if f.MaxBytes > 0 {
			for i := range more {
				bytes -= more[i].Size()
			}
			if bytes <= 0 {
				break
			}
		}
	}
	return list, nil
}

// eventsPart is a range of events that one query reads: those with a seq between after and
// before, without the two.
type eventsPart struct {
	from, seq     string // the table, and the column that it is read in the order of: by another one SQLite would sort, payloads and all
	account       string // the column of the client_id
	after, before int64
}

// parts returns the ranges that hold the events of f, in f's order. An account's are in
// history as far as that is written, the others among the newest of outbox.
func (r *reader) parts(f db.Filter) []eventsPart {
	after, before := f.After, int64(math.MaxInt64)
	if f.Newest {
		after = 0
		if f.After > 0 {
			before = f.After
		}
	}
	if f.State == db.Scheduled { // an index has the few that are
		return []eventsPart{{"deliveries d CROSS JOIN outbox o ON o.seq = d.seq", "d.seq", "d.client_id", after, before}}
	}
	if f.ClientID == "" {
		return []eventsPart{{"outbox o", "o.seq", "", after, before}}
	}
	// What is flushed never changes, so the two need not be one snapshot.
	flushed := r.unflushed.flushedUpTo()
	parts := []eventsPart{
		{"history h CROSS JOIN outbox o ON o.seq = h.seq", "h.seq", "h.client_id", after, min(before, flushed+1)},
		{"outbox o NOT INDEXED", "o.seq", "o.client_id", max(after, flushed), before},
	}
	if f.Newest {
		slices.Reverse(parts)
	}
	return slices.DeleteFunc(parts, func(p eventsPart) bool { return p.after >= p.before-1 })
}

// query returns the query of what f selects within p, as stored takes it.
func (p *eventsPart) query(f db.Filter) (from, order string, args []any) {
	conditions, args := p.conditions(f)
	from = p.from + " LEFT JOIN results r ON r.seq = o.seq"
	if f.State != db.Scheduled {
		from += " LEFT JOIN deliveries d ON d.seq = o.seq"
	}
	from += " WHERE " + strings.Join(conditions, " AND ")
	if order = p.seq; f.Newest {
		order += " DESC"
	}
	return from, order, args
}

// conditions returns those of f within p, and their arguments.
func (p *eventsPart) conditions(f db.Filter) (conditions []string, args []any) {
	add := func(condition string, arg ...any) {
		conditions, args = append(conditions, condition), append(args, arg...)
	}
	add(p.seq+" > ?", p.after)
	add(p.seq+" < ?", p.before)
	if f.ClientID != "" {
		add(p.account+" = ?", f.ClientID)
	}
	if f.Type != "" {
		add("o.type = ?", f.Type)
	}
	if f.RequestID != "" {
		add("o.request_id = ?", f.RequestID)
	}
	if !f.Since.IsZero() {
		add("o.received_at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("o.received_at < ?", f.Until.UnixMicro())
	}
	switch f.State {
	case "":
	case db.Pending:
		add("r.seq IS NULL AND d.scheduled IS NOT 1")
	case db.Scheduled:
		add("d.scheduled = 1")
	default:
		add("r.status = ?", string(f.State))
	}
	return conditions, args
}
