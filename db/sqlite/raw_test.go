package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// typical is an event as the load generator of bench/ sends it, the i-th of accounts
// accounts that take turns.
func typical(i, accounts int) db.Event {
	return db.Event{
		ClientID:  fmt.Sprintf("client00000000000000000000%d", 100000+i%accounts),
		MessageID: fmt.Sprintf("1700000000-%d-0", 100_000_000+i), Type: "note",
		Payload:   fmt.Appendf(nil, `{"phone":"+7000000%04d","text":"hello there, this is message number %d"}`, i%accounts, i),
		RequestID: "2RP4J7HSNYOTY2C6XIQKG2ZBCW",
	}
}

// BenchmarkRawAppend is what one core and the disk allow for an append's statements,
// flushing included: a loop of its own on its own connection, groups of a fixed size, and
// nothing of the committer around it. The goals of bench/ are ratios against it.
func BenchmarkRawAppend(b *testing.B) {
	for _, group := range []int{64, 256, 1000} {
		b.Run(fmt.Sprint(group), func(b *testing.B) { rawAppend(b, group) })
	}
}

func rawAppend(b *testing.B, group int) {
	const accounts = 1000
	path := benchFile(b)
	if err := open(b, options(b, path)).Close(); err != nil {
		b.Fatal(err)
	}
	pool, err := sql.Open("sqlite", conn.WriteDSN(path))
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	ctx := context.Background()
	one, err := pool.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	c, err := conn.New(one, func(time.Duration) {})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	rows, err := q.Prepare(ctx, c.SQL)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	hot, err := prepareHot(c)
	if err != nil {
		b.Fatal(err)
	}
	defer hot.close()
	exec := func(text string) {
		if err := c.Exec(text); err != nil {
			b.Fatal(err)
		}
	}
	// Everything but the statements is done before.
	events := make([]db.Event, min(b.N, 1<<20))
	for i := range events {
		events[i] = typical(i, accounts)
	}
	for i := range accounts {
		if err := rows.InsertAccount(ctx, typical(i, accounts).ClientID); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var unflushed, flushing []appended // flushing is sorted
	for i := 0; i < len(events) || len(flushing) > 0; {
		exec("BEGIN IMMEDIATE")
		for range min(group, len(events)-i) {
			ev, seq := &events[i], int64(i+1)
			_, err := hot.insertOutbox(q.InsertOutboxParams{Seq: seq, ClientID: ev.ClientID, MessageID: ev.MessageID,
				Type: ev.Type, Payload: string(ev.Payload), ReceivedAt: seq, RequestID: ev.RequestID})
			if err != nil {
				b.Fatal(err)
			}
			unflushed = append(unflushed, appended{seq, ev.ClientID})
			i++
		}
		if err := rows.SaveCounters(ctx, q.SaveCountersParams{NextSeq: int64(i + 1), NextSettled: 1, Pending: int64(i)}); err != nil {
			b.Fatal(err)
		}
		n := min(group, len(flushing))
		for _, a := range flushing[:n] {
			err := hot.insertHistory(q.InsertHistoryParams{ClientID: a.clientID, Seq: a.seq})
			err = errors.Join(err, hot.insertPending(q.InsertPendingParams{ClientID: a.clientID, Turn: a.seq, Seq: a.seq, Run: 1}))
			if err != nil {
				b.Fatal(err)
			}
		}
		exec("COMMIT")
		c.Checkpoint()
		if flushing = flushing[n:]; len(flushing) == 0 && (len(unflushed) >= flushBatch || i == len(events)) {
			flushing, unflushed = unflushed, nil
			slices.SortFunc(flushing, func(a, b appended) int {
				return cmp.Or(cmp.Compare(a.clientID, b.clientID), cmp.Compare(a.seq, b.seq))
			})
		}
	}
	b.ReportMetric(float64(len(events))/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkSettle: accounts settle slices of their events, 16 at once.
func BenchmarkSettle(b *testing.B) {
	const accounts, slice = 16, 64
	d := open(b, options(b, benchFile(b)))
	lanes := make([][]db.Settlement, accounts)
	for i := 0; i < b.N; i += slice {
		events := make([]db.Event, min(slice, b.N-i))
		for k := range events {
			events[k] = typical(i+k, accounts)
		}
		answers, err := d.AppendBatch(b.Context(), db.Batch{Events: events})
		if err != nil {
			b.Fatal(err)
		}
		for k, a := range answers {
			ev := events[k]
			ev.Seq, ev.Position, ev.Run, ev.Attempt = a.Receipt.Seq, a.Receipt.Seq, 1, 1
			lane := &lanes[(i+k)%accounts]
			*lane = append(*lane, done(ev, nil))
		}
	}
	b.ResetTimer()
	ended := make(chan error, accounts)
	for _, lane := range lanes {
		go func() {
			for len(lane) > 0 {
				n := min(slice, len(lane))
				if got, err := d.Settle(lane[:n]); err != nil || got != n {
					ended <- fmt.Errorf("settle: %d of %d: %w", got, n, err)
					return
				}
				lane = lane[n:]
			}
			ended <- nil
		}()
	}
	for range lanes {
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
