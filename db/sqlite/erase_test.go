package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// eraseTables are a function's tables with references, and what of them is whose.
const eraseTables = `
CREATE TABLE people (id INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE);
CREATE TABLE letters (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id), text TEXT NOT NULL);`

func eraseOptions(t testing.TB, path string) Options {
	o := options(t, path)
	o.Tables = append(o.Tables, db.Migration{Function: "letters", Version: 1, SQL: eraseTables})
	o.Erasures = []db.Erasure{
		{Table: "letters", Rows: "SELECT id FROM letters WHERE person IN (SELECT id FROM people WHERE client_id = :client_id)"},
		{Table: "people", Rows: "SELECT id FROM people WHERE client_id = :client_id"},
	}
	return o
}

func letter(client, text string) db.Effect {
	return func(tx db.Tx) (any, error) {
		if _, err := tx.ExecContext(tx.Context(), "INSERT INTO people (client_id) VALUES (?) ON CONFLICT DO NOTHING", client); err != nil {
			return nil, err
		}
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO letters (person, text) SELECT id, ? FROM people WHERE client_id = ?", text, client)
		return text, err
	}
}

// secret is in everything that the erased client leaves in the file.
const secret = "erase-me-0123456789"

// correspond lets a client send so many events, of which the last ones stay pending.
func correspond(t testing.TB, d *DB, client, text string, events, pending int) {
	t.Helper()
	var batch []db.Event
	for n := range events {
		ev := event(client, fmt.Sprint(text, n))
		ev.Payload = []byte(fmt.Sprintf(`{"text":%q}`, strings.Repeat(text, 1+n%7*n%60)))
		batch = append(batch, ev)
	}
	answers, err := d.AppendBatch(t.Context(), db.Batch{Events: batch})
	if err != nil {
		t.Fatal(err)
	}
	for n, a := range answers[:events-pending] {
		ev := batch[n]
		ev.Seq, ev.Position, ev.Run, ev.Attempt = a.Receipt.Seq, a.Receipt.Seq, 1, 1
		settle(t, d, done(ev, letter(client, text+fmt.Sprint(n))))
	}
}

func TestErase(t *testing.T) {
	path := tempFile(t)
	d := open(t, eraseOptions(t, path))
	correspond(t, d, "other", "keep-me", 300, 20)
	correspond(t, d, secret, secret, 700, 450)
	correspond(t, d, "another", "keep-me", 10, 5)
	head, _, err := d.PendingAfter(t.Context(), secret, 0, 1, 1<<20)
	if err != nil || len(head) != 1 {
		t.Fatal(head, err)
	}
	if err := d.Hold(db.Hold{Event: head[0], Attempts: 3, Park: true, Error: secret}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Execute(t.Context(), db.Command{Verb: db.Pause, ClientID: secret, Who: "o", Reason: secret, Key: "key-" + secret}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Execute(t.Context(), db.Command{Verb: db.Replay, ClientID: secret, Who: "o", Reason: secret}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ExpandReplay(secret); err != nil {
		t.Fatal(err)
	}
	var told []db.Change
	tell := func(all []db.Change) { told = append(told, all...) }
	d.OnChange(tell)
	before := rows(t, d, "SELECT * FROM events WHERE client_id <> ?", secret)

	done, err := d.Erase(secret, "an operator", "asked for")
	if err != nil {
		t.Fatal(err)
	}
	if done.Events != 700 || done.Pending != 700 || !maps.Equal(done.Rows, map[string]int64{"letters": 250, "people": 1}) || done.InWAL || done.Client != db.EraseMark(secret) {
		t.Errorf("erased: %+v", done)
	}
	if n, err := d.Settle([]db.Settlement{{Event: head[0], Status: db.Done, Effect: letter(secret, secret)}}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
		t.Errorf("an attempt that ran meanwhile: %d, %v", n, err)
	}
	if after := rows(t, d, "SELECT * FROM events"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("others' events are not what they were")
	}
	wantRows(t, d, "SELECT (SELECT count(*) FROM pending), (SELECT count(*) FROM accounts), (SELECT count(*) FROM letters), (SELECT count(*) FROM erasing)", "25 2 285 0")
	if d.w.backlog[secret] != 0 || d.w.total != 25 {
		t.Errorf("the backlog is thought to be %d of the client, %d in all", d.w.backlog[secret], d.w.total)
	}
	wantRows(t, d, "SELECT verb, client_id, who, reason, answer ->> '$.events' FROM audit ORDER BY id",
		"pause "+db.EraseMark(secret)+" o  <nil>", "replay "+db.EraseMark(secret)+" o  250", "erase "+db.EraseMark(secret)+" an operator asked for 700")
	if len(told) != 1 || told[0].ClientID != secret || !told[0].Reread || told[0].Paused || told[0].Parked || told[0].Replaying {
		t.Errorf("the runner is told %+v", told)
	}
	// Free pages don't keep the text, nor does the WAL.
	nothingOf(t, path)
	// Foreign keys hold again.
	ev := appendEvent(t, d, event("other", "fk"))
	bad := func(tx db.Tx) (any, error) {
		_, err := tx.ExecContext(tx.Context(), "INSERT INTO letters (person, text) VALUES (99999, '')")
		return nil, err
	}
	pendingOf(t, d, "other")
	if _, err := d.Settle([]db.Settlement{{Event: ev, Status: db.Done, Effect: bad, StartedAt: time.UnixMicro(1)}}); err == nil {
		t.Error("a reference to nothing was written")
	}
	// The client begins anew.
	if r, err := d.Append(t.Context(), event(secret, secret+"0")); err != nil || r.Duplicate || r.Seq <= 1010 {
		t.Errorf("sent again: %+v, %v", r, err)
	}
	if again, err := d.Erase("never was", "", ""); err != nil || again.Events != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantSound(t, path)
}

func pendingOf(t testing.TB, d *DB, client string) []db.Event {
	t.Helper()
	list, _, err := d.PendingAfter(t.Context(), client, 0, 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// traces is how often the secret stands in the file. A few may be left in pages that
// others' rows share: SQLite overwrites what it frees, and not what it moved away from.
const traces = 100

func nothingOf(t *testing.T, path string) {
	t.Helper()
	for suffix, most := range map[string]int{"": traces, "-wal": 0} {
		content, err := os.ReadFile(path + suffix)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if n := bytes.Count(content, []byte(secret)); n > most {
			t.Errorf("inturn.db%s has the text %d times", suffix, n)
		}
	}
}

// Whatever step an erasure is cut short at: nothing that check asks for is broken, new
// events are refused until it has ended, also after the restart, and the restart ends it.
func TestEraseCutShort(t *testing.T) {
	stride := 3
	if os.Getenv("CI") != "" {
		stride = 1
	}
	for step := 1; ; step += stride {
		path := tempFile(t)
		d := open(t, eraseOptions(t, path))
		correspond(t, d, "other", "keep-me", 10, 5)
		correspond(t, d, secret, secret, 500, 250)
		cut, steps := errors.New("cut short"), 0
		_, err := d.erasures.erase(secret, "", "", func() error {
			if steps++; steps == step {
				return cut
			}
			return nil
		})
		if err == nil {
			if step < 8 {
				t.Errorf("an erasure of so much took %d steps", step-1)
			}
			return
		}
		if !errors.Is(err, cut) {
			t.Fatal(err)
		}
		_, inBatch := d.AppendBatch(t.Context(), db.Batch{Events: []db.Event{event(secret, "batch")}})
		if _, err := d.Append(t.Context(), event(secret, "new")); d.erasing.has(secret) && (!errors.Is(err, db.ErrErasing) || inBatch != nil) {
			t.Errorf("step %d: an append to an account that is being erased: %v, %v", step, err, inBatch)
		}
		if list := pendingOf(t, d, secret); d.erasing.has(secret) && len(list) > 0 {
			t.Errorf("step %d: %d events would run", step, len(list))
		}
		last := !d.erasing.has(secret)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, path)
		if last {
			continue
		}
		d = open(t, eraseOptions(t, path))
		wait(t, "the end of the erasure", d.erasures.resumed)
		if accounts, _, _ := d.Backlog(); len(accounts) != 1 {
			t.Errorf("step %d: the runner is given %d accounts", step, len(accounts))
		}
		wantRows(t, d, "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM letters), (SELECT count(*) FROM accounts), (SELECT count(*) FROM erasing)", "10 5 1 0")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, path)
		nothingOf(t, path)
	}
}

// Of two operators one is told that the other one does it. Would both, the first to end
// would let new events in, and the other delete them.
func TestEraseTwiceAtOnce(t *testing.T) {
	d := open(t, eraseOptions(t, ":memory:"))
	correspond(t, d, secret, secret, 20, 10)
	steps := 0
	if _, err := d.erasures.erase(secret, "one", "", func() error {
		if steps++; !d.erasing.has(secret) {
			return nil // that was the last one
		}
		if _, err := d.Erase(secret, "two", ""); !errors.Is(err, db.ErrErasing) {
			t.Errorf("step %d: a second erasure: %v", steps, err)
		}
		if _, err := d.Append(t.Context(), event(secret, "new")); !errors.Is(err, db.ErrErasing) {
			t.Errorf("step %d: an append: %v", steps, err)
		}
		return nil
	}); err != nil || steps < 4 {
		t.Errorf("%d steps, %v", steps, err)
	}
	ev := appendEvent(t, d, event(secret, "new"))
	if _, err := d.Erase(secret, "two", ""); err != nil {
		t.Error(err)
	}
	if _, err := d.Find(t.Context(), secret, ev.MessageID); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("after a second erasure: %v", err)
	}
}

// An erasure whose declaration can't work is found out at the start.
func TestErasuresArePrepared(t *testing.T) {
	for _, bad := range []db.Erasure{{Table: "nowhere", Rows: "SELECT 1"}, {Table: "notes", Rows: "SELECT nothing FROM notes"}, {Table: "notes", Rows: "DELETE FROM notes"}, {Table: "notes", Rows: "SELECT id FROM notes; COMMIT"}} {
		o := options(t, ":memory:")
		o.Erasures = []db.Erasure{bad}
		if d, err := Open(t.Context(), o); err == nil {
			d.Close()
			t.Errorf("%+v was taken", bad)
		} else if !strings.Contains(err.Error(), "erasure of "+bad.Table) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// From its first commit on an erasure closes every door to the account: what is to be written
// for it is refused, and attempts that run write nothing.
func TestErasingAccountTakesNothing(t *testing.T) {
	d := open(t, eraseOptions(t, ":memory:"))
	ev, other := appendEvent(t, d, event(secret, "m")), appendEvent(t, d, event("other", "m"))
	cut := errors.New("cut short")
	if _, err := d.erasures.erase(secret, "", "", func() error { return cut }); !errors.Is(err, cut) || !d.erasing.has(secret) {
		t.Fatal(err)
	}
	effects := 0
	_, appended := d.Append(t.Context(), event(secret, "new"))
	batch, err := d.AppendBatch(t.Context(), db.Batch{Events: []db.Event{event(secret, "new")}})
	if err != nil {
		t.Fatal(err)
	}
	_, settled := d.Settle([]db.Settlement{done(ev, func(db.Tx) (any, error) { effects++; return nil, nil })})
	_, emitted := d.Settle([]db.Settlement{done(other, func(tx db.Tx) (any, error) { return nil, tx.Emit(event(secret, "emitted")) })})
	for what, got := range map[string]struct{ err, want error }{
		"append": {appended, db.ErrErasing},
		"batch":  {batch[0].Err, db.ErrErasing},
		"emit":   {emitted, db.ErrErasing},
		"settle": {settled, db.ErrSuperseded},
		"hold":   {d.Hold(db.Hold{Event: ev, Attempts: 1, NextAt: time.UnixMicro(1), Error: "e"}), db.ErrSuperseded},
	} {
		if !errors.Is(got.err, got.want) {
			t.Errorf("%s: %v, want %v", what, got.err, got.want)
		}
	}
	if effects > 0 {
		t.Error("an effect ran")
	}
	for _, c := range []db.Command{
		{Verb: db.Pause, ClientID: secret}, {Verb: db.Resume, ClientID: secret}, {Verb: db.Retry, ClientID: secret, Seq: ev.Seq},
		{Verb: db.Skip, ClientID: secret, Seq: ev.Seq}, {Verb: db.Cancel, ClientID: secret, Seq: ev.Seq}, {Verb: db.Redrive, Seq: ev.Seq},
		{Verb: db.Replay, ClientID: secret, Seq: 1},
	} {
		if _, err := d.Execute(t.Context(), c); !errors.Is(err, db.ErrErasing) {
			t.Errorf("%s: %v", c.Verb, err)
		}
	}
	if more, err := d.ExpandReplay(secret); more || err != nil {
		t.Errorf("a replay goes on: %v, %v", more, err)
	}
	if list := pendingOf(t, d, secret); len(list) > 0 {
		t.Errorf("%d events would run", len(list))
	}
	wantRows(t, d, pendingRows, secret+" 1 1 1", "other 2 2 1")
}
