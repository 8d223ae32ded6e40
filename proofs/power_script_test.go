package proofs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
)

// effectsTable lets a double effect be written, so that it can be seen.
var effectsTable = []db.Migration{{Function: "power", Version: 1,
	SQL: "CREATE TABLE effects (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, id TEXT NOT NULL) STRICT"}}

func openStore(ctx context.Context, path string) (*sqlite.DB, error) {
	return sqlite.Open(ctx, sqlite.Options{Path: path, Tables: effectsTable})
}

// appended is what a client and a runner know of one event.
type appended struct {
	db.Event
	id string // client/message
}

func newAppended(client string, n int) appended {
	id := fmt.Sprintf("%s/%d", client, n)
	return appended{id: id, Event: db.Event{ClientID: client, MessageID: fmt.Sprint(n), Type: "power",
		Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), RequestID: "r"}}
}

func settlement(ev db.Event, id string) db.Settlement {
	ev.Attempt = 1
	return db.Settlement{Event: ev, Status: db.Done, StartedAt: time.UnixMicro(1), Held: true, Effect: func(tx db.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO effects (seq, id) VALUES (?, ?)", ev.Seq, id)
		return id, err
	}}
}

// book is what was answered until now, and so must be in the file for ever.
type book struct {
	mu      sync.Mutex
	seqs    map[string]int64 // of the answered events, by id; 0: not looked at
	settled map[string]bool
}

func newBook() *book { return &book{seqs: map[string]int64{}, settled: map[string]bool{}} }

func (b *book) answered(id string, seq int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seqs[id] = seq
}

func (b *book) settle(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled[id] = true
}

func (b *book) copy() *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &book{seqs: maps.Clone(b.seqs), settled: maps.Clone(b.settled)}
}

// scriptEvents is how many events the small script sends for each of its accounts.
const scriptEvents = 4

var scriptAccounts = []string{"a", "b"}

func scriptIDs() (all []appended) {
	for n := range 2 * scriptEvents {
		for _, client := range scriptAccounts {
			all = append(all, newAppended(client, n))
		}
	}
	return all
}

// powerScript is the small script: it opens a fresh file, appends, settles with
// effects, lets somebody else checkpoint, appends and settles on, closes, and does
// it again on the file that is there. The book hears of an answer when it came;
// then is called after each.
func powerScript(ctx context.Context, path string, b *book, then func()) error {
	events := scriptIDs()
	for half := range 2 {
		if err := scriptHalf(ctx, path, events[half*len(events)/2:][:len(events)/2], b, then); err != nil {
			return err
		}
	}
	return nil
}

func scriptHalf(ctx context.Context, path string, events []appended, b *book, then func()) (err error) {
	d, err := openStore(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for i, ev := range events {
		r, err := d.Append(ctx, ev.Event)
		if err != nil {
			return err
		}
		b.answered(ev.id, r.Seq)
		then()
		if i == len(events)/2 {
			if err := foreignCheckpoint(ctx, path); err != nil {
				return err
			}
		}
		if i%2 == 1 && i > 2 { // settle two accounts' heads, and leave some pending
			for _, client := range scriptAccounts {
				if err := settleHead(ctx, d, client, b, then); err != nil {
					return err
				}
			}
		}
	}
	return holdHead(ctx, d, scriptAccounts[0])
}

// holdHead records an attempt of an account's next event that failed.
func holdHead(ctx context.Context, d *sqlite.DB, client string) error {
	pending, _, err := d.PendingAfter(ctx, client, 0, 1, 1<<20)
	if err != nil || len(pending) == 0 {
		return err
	}
	return d.Hold(db.Hold{Event: pending[0], Attempts: 1, NextAt: time.UnixMicro(1), Error: "a test"})
}

// settleHead settles an account's next event.
func settleHead(ctx context.Context, d *sqlite.DB, client string, b *book, then func()) error {
	pending, _, err := d.PendingAfter(ctx, client, 0, 1, 1<<20)
	if err != nil || len(pending) == 0 {
		return err
	}
	id := client + "/" + pending[0].MessageID
	if _, err := d.Settle([]db.Settlement{settlement(pending[0], id)}); err != nil {
		return err
	}
	b.settle(id)
	then()
	return nil
}

// foreignCheckpoint does what a person does with a database shell.
func foreignCheckpoint(ctx context.Context, path string) error {
	shell, err := sql.Open("sqlite", "file:"+path+"?_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer shell.Close()
	_, err = shell.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// judgeFile opens the file as a restart does and returns what is wrong with it: an
// answer that doesn't hold, an effect without its result or twice. It then sends
// everything again and settles what is pending, so that the file also has to be one
// that work goes on with.
func judgeFile(ctx context.Context, path string, known *book, all []appended) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	d, err := openStore(ctx, path)
	if err != nil {
		return []string{fmt.Sprintf("the file can't be opened: %v", err)}
	}
	closed := false
	closeStore := func() {
		if err := d.Close(); err != nil && !closed {
			complain("close: %v", err)
		}
		closed = true
	}
	defer closeStore()
	for id, seq := range known.seqs {
		client, message, _ := strings.Cut(id, "/")
		s, err := d.Find(ctx, client, message)
		switch {
		case err != nil:
			complain("%s was answered with seq %d: %v", id, seq, err)
		case seq != 0 && s.Seq != seq:
			complain("%s was answered with seq %d and has %d", id, seq, s.Seq)
		case known.settled[id] && s.State != db.Done:
			complain("%s was settled and is %s", id, s.State)
		}
	}
	if len(wrong) > 0 {
		return wrong
	}
	wrong = append(wrong, judgeEffects(ctx, path)...)

	wrong = append(wrong, goOn(ctx, d, known, all)...)
	closeStore()
	wrong = append(wrong, judgeEffects(ctx, path)...)
	violations, err := file.Verify(ctx, path, nil)
	if err != nil {
		complain("verify: %v", err)
	}
	for _, v := range violations {
		complain("%s: %s", v.Kind, v.Detail)
	}
	file, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		return append(wrong, err.Error())
	}
	defer file.Close()
	var settled int
	if err := file.QueryRowContext(ctx, "SELECT count(*) FROM results").Scan(&settled); err != nil || settled != len(all) {
		complain("in the end %d of %d events are settled (%v)", settled, len(all), err)
	}
	return wrong
}

// goOn sends all events again, each account's in order, and settles what is pending.
func goOn(ctx context.Context, d *sqlite.DB, known *book, all []appended) (wrong []string) {
	accounts := map[string][]appended{}
	for _, ev := range all {
		accounts[ev.ClientID] = append(accounts[ev.ClientID], ev)
	}
	var mu sync.Mutex
	complain := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		wrong = append(wrong, fmt.Sprintf(format, args...))
	}
	var wg sync.WaitGroup
	for client, events := range accounts {
		wg.Go(func() {
			for _, ev := range events {
				r, err := appendPatiently(ctx, d, ev.Event)
				seq, before := known.seqs[ev.id]
				switch {
				case err != nil:
					complain("resend %s: %v", ev.id, err)
				case before && (!r.Duplicate || seq != 0 && r.Seq != seq):
					complain("resend %s: seq %d, duplicate %v; it was answered with seq %d", ev.id, r.Seq, r.Duplicate, seq)
				}
			}
			pending, _, err := d.PendingAfter(ctx, client, 0, len(events)+1, 1<<30)
			if err != nil {
				complain("pending of %s: %v", client, err)
			}
			var items []db.Settlement
			for _, ev := range pending {
				items = append(items, settlement(ev, client+"/"+ev.MessageID))
			}
			if n, err := d.Settle(items); err != nil || n != len(items) {
				complain("settle %s: %d of %d, %v", client, n, len(items), err)
			}
		})
	}
	wg.Wait()
	return wrong
}

// appendPatiently sends again what was refused because too much waited: nothing of it
// was written.
func appendPatiently(ctx context.Context, d *sqlite.DB, ev db.Event) (db.Receipt, error) {
	for {
		if r, err := d.Append(ctx, ev); !errors.Is(err, db.ErrOverloaded) {
			return r, err
		}
	}
}

// judgeEffects: each result has its one effect, and each effect its result.
func judgeEffects(ctx context.Context, path string) (wrong []string) {
	file, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	rows, err := file.QueryContext(ctx, `SELECT 'a result with '||count(e.seq)||' effects: '||r.seq FROM results r LEFT JOIN effects e ON e.seq = r.seq
			GROUP BY r.seq HAVING count(e.seq) <> 1
		UNION ALL SELECT 'an effect without a result: '||e.seq FROM effects e LEFT JOIN results r ON r.seq = e.seq WHERE r.seq IS NULL
		UNION ALL SELECT 'an event twice: '||client_id||'/'||message_id FROM outbox GROUP BY client_id, message_id HAVING count(*) > 1`)
	if err != nil {
		return []string{err.Error()}
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return append(wrong, err.Error())
		}
		wrong = append(wrong, text)
	}
	if err := rows.Err(); err != nil {
		wrong = append(wrong, err.Error())
	}
	return wrong
}
