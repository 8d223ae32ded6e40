package sqlite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

var benchFiles = flag.String("bench.dir", "", "folder of the benchmarks' files; default: a temporary one")

func benchFile(b *testing.B) string {
	if *benchFiles == "" {
		return tempFile(b)
	}
	dir, err := os.MkdirTemp(*benchFiles, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir + "/inturn.db"
}

func benchOpen(b *testing.B) *DB { return open(b, options(b, benchFile(b))) }

// BenchmarkAppend: many callers, one event each, each answered after its fsync.
func BenchmarkAppend(b *testing.B) {
	d := benchOpen(b)
	var n atomic.Int64
	b.SetParallelism(256)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			if _, err := d.Append(context.Background(), event(fmt.Sprint("c", i%1000), fmt.Sprint(i))); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkAppendSettle: each event is also settled, with one row as its effect.
func BenchmarkAppendSettle(b *testing.B) {
	d := benchOpen(b)
	var n atomic.Int64
	b.SetParallelism(256)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			ev := event(fmt.Sprint("c", i%1000), fmt.Sprint(i))
			r, err := d.Append(context.Background(), ev)
			if err == nil {
				ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
				_, err = d.Settle([]db.Settlement{done(ev, note(ev.MessageID))})
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// bigFile has n events of n/100 accounts, nine of ten settled, with payloads of
// about 200 bytes, made by SQL.
func bigFile(b *testing.B, n int) string {
	b.Helper()
	path := tempFile(b)
	if err := errors.Join(open(b, options(b, path)).Close()); err != nil {
		b.Fatal(err)
	}
	conn := raw(b, path)
	account, upTo := fmt.Sprintf("'client-' || (i * 7919 %% %d)", n/100), fmt.Sprintf(" FROM n LIMIT %d", n)
	run(b, conn, "BEGIN",
		"INSERT INTO outbox "+endless+"SELECT i, "+account+", printf('%08x-%d', i * 2654435761 % 4294967296, i), 'note', '{\"text\":\""+strings.Repeat("x", 180)+"\"}', 1, 'r', NULL"+upTo,
		"INSERT INTO accounts (client_id) SELECT DISTINCT client_id FROM outbox",
		fmt.Sprintf("INSERT INTO results SELECT seq, 1, seq, seq, 'done', 1, 1, 1, '{}', NULL FROM outbox WHERE seq <= %d", n/10*9),
		fmt.Sprintf("INSERT INTO lanes SELECT client_id, seq, seq, 1 FROM outbox WHERE seq > %d", n/10*9),
		fmt.Sprintf("UPDATE owner SET next_seq = %d, next_settled = %[1]d, pending = %d", n+1, n-n/10*9), "COMMIT")
	conn.Close()
	return path
}

// BenchmarkVerify is the time of `inturn check` on a file with a million events.
func BenchmarkVerify(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	path := bigFile(b, n)
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size()>>20), "MiB")
	}
	for b.Loop() {
		if violations, err := file.Verify(b.Context(), path, nil); err != nil || len(violations) > 0 {
			b.Fatal(violations, err)
		}
	}
}

// BenchmarkTx is the statements of an effect alone, one read and one insert as
// the message function's, 128 effects in a transaction.
func BenchmarkTx(b *testing.B) {
	o := options(b, benchFile(b))
	o.Tables = []db.Migration{{Function: "chats", Version: 1, SQL: `
CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE messages (id INTEGER PRIMARY KEY, client INTEGER NOT NULL, message_id TEXT NOT NULL UNIQUE, text TEXT NOT NULL) STRICT;`}}
	onWriter(b, open(b, o), func(w *writer) error {
		err := w.conn.Exec("INSERT INTO clients (name) WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT 'client-' || i FROM n LIMIT 1000")
		n := 0
		for b.Loop() && err == nil {
			tx := &effectTx{w: w}
			var client int64
			err = tx.QueryRowContext(tx.Context(), "SELECT id FROM clients WHERE name = ?1 AND name <> ?2", fmt.Sprint("client-", n*7919%1000), "").Scan(&client)
			if err == nil {
				_, err = tx.ExecContext(tx.Context(), "INSERT INTO messages (client, message_id, text) VALUES (?1, ?2, ?3)", client, fmt.Sprintf("m-%012d", n), "hello")
			}
			err = errors.Join(err, tx.close())
			if n++; n%128 == 0 {
				err = errors.Join(err, w.conn.Commit(), w.conn.Begin())
			}
		}
		if err != nil {
			b.Error(err)
		}
		return nil
	})
}
