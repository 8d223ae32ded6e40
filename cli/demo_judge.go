package cli

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"inturn/db/sqlite/file"
)

// ran is one event of the demo as the file has it. Times are Unix microseconds.
type ran struct {
	account  string
	n        int // the sender's counter in the payload, from 1
	received int64
	done     bool  // it is settled, and not set aside; the rest is only then set
	times    int64 // how often its work was begun
	started  int64
	finished int64
}

// readRuns reads every accepted event.
func readRuns(ctx context.Context, path string) (_ []ran, err error) {
	handle, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, handle.Close()) }()
	// No function of the demo fails, so every attempt and run beyond the first is
	// work that was done twice.
	rows, err := handle.QueryContext(ctx, `
		SELECT o.client_id, coalesce(json_extract(o.payload, '$.n'), 0), o.received_at,
		       coalesce(r.status = 'done', 0), r.attempts + r.run - 1, r.started_at, r.finished_at
		FROM outbox o LEFT JOIN results r ON r.seq = o.seq`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ran
	for rows.Next() {
		var r ran
		var times, started, finished sql.NullInt64
		if err := rows.Scan(&r.account, &r.n, &r.received, &r.done, &times, &started, &finished); err != nil {
			return nil, err
		}
		r.times, r.started, r.finished = times.Int64, started.Int64, finished.Int64
		all = append(all, r)
	}
	return all, rows.Err()
}

// verdict is the result of the demo, in JSON's names.
type verdict struct {
	Events          int     `json:"events"` // that were to be sent
	Accounts        int     `json:"accounts"`
	Processed       int     `json:"processed"` // different ones, done
	Floor           float64 `json:"floor_seconds"`
	Makespan        float64 `json:"makespan_seconds"` // first accepted to last settled
	Ratio           float64 `json:"ratio"`            // Makespan / Floor
	OrderViolations int     `json:"order_violations"`
	Duplicates      int     `json:"duplicates"` // runs beyond the first of an event

	largest int // events of the largest account
	lost    int // sent and not done
	foreign int // done and never sent
}

// judge compares what ran with what was sent: counts[i] events of account i.
//
// Order is judged by the sender's counter: an event must not have started before
// the one with the next smaller counter of its account was finished. The engine's
// own seq is not looked at.
func judge(rows []ran, counts []int, work time.Duration) verdict {
	v := verdict{Accounts: len(counts)}
	sent := make(map[string]int, len(counts))
	for i, n := range counts {
		sent[clientID(i)] = n
		v.Events += n
		v.largest = max(v.largest, n)
	}
	rows = slices.SortedFunc(slices.Values(rows), func(a, b ran) int {
		return cmp.Or(strings.Compare(a.account, b.account), cmp.Compare(a.n, b.n), cmp.Compare(a.started, b.started))
	})
	var first, last int64
	var before *ran // what was done before, of the same account
	for i := range rows {
		r := &rows[i]
		if first == 0 || r.received < first {
			first = r.received
		}
		if !r.done {
			continue
		}
		last = max(last, r.finished)
		v.Duplicates += int(max(r.times, 1) - 1)
		if before != nil && before.account != r.account {
			before = nil
		}
		switch {
		case r.n < 1 || r.n > sent[r.account]:
			v.foreign++
		case before != nil && before.n == r.n:
			v.Duplicates++
		default:
			v.Processed++
		}
		if r.finished < r.started || before != nil && r.started < before.finished {
			v.OrderViolations++
		}
		before = r
	}
	v.lost = v.Events - v.Processed
	v.Floor = micro((time.Duration(v.largest) * work).Seconds())
	if last > first {
		v.Makespan = micro((time.Duration(last-first) * time.Microsecond).Seconds())
	}
	if v.Floor > 0 {
		v.Ratio = micro(v.Makespan / v.Floor)
	}
	return v
}

// micro rounds to the precision of the file's times.
func micro(x float64) float64 { return math.Round(x*1e6) / 1e6 }

// err returns an error that lists what is wrong, nil if nothing is.
func (v verdict) err() error {
	var wrong []string
	for _, w := range []struct {
		n    int
		what string
	}{
		{v.OrderViolations, "out of turn"},
		{v.Duplicates, "processed twice"},
		{v.lost, "lost"},
		{v.foreign, "never sent"},
	} {
		if w.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", w.n, w.what))
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("demo: events are wrong: %s", strings.Join(wrong, ", "))
}
