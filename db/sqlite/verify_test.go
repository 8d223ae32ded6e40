package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// busyFile has everything that a valid file may have: settled, dead, pending,
// emitted, retried and parked events.
func busyFile(t testing.TB) string {
	t.Helper()
	path := tempFile(t)
	d := open(t, options(t, path))
	for i := range 5 {
		client := string(rune('a' + i))
		first, second := appendEvent(t, d, event(client, "m1")), appendEvent(t, d, event(client, "m2"))
		appendEvent(t, d, event(client, "m3"))
		settle(t, d, done(first, func(tx db.Tx) (any, error) { return nil, tx.Emit(event(client, "emitted")) }))
		switch client {
		case "b":
			settle(t, d, db.Settlement{Event: second, Status: db.Dead, Error: "no"})
		case "c":
			if err := d.Hold(db.Hold{Event: second, Attempts: 2, NextAt: time.UnixMicro(1), Error: "e"}); err != nil {
				t.Fatal(err)
			}
		case "d":
			if err := d.Hold(db.Hold{Event: second, Attempts: 20, Park: true, Error: "e"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, at := range []time.Time{time.UnixMicro(1), time.Now().Add(time.Hour)} { // seq 21, which is due, and 22
		ev := event("s", fmt.Sprint("m", i))
		ev.DeliverAt = at
		if _, err := d.Append(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

var noteInvariant = db.Invariant{Kind: "empty-note", Query: "SELECT format('note %d is empty', id) FROM notes WHERE text = ''"}

func TestVerifySound(t *testing.T) {
	wantSound(t, busyFile(t), noteInvariant)
	empty := tempFile(t)
	open(t, options(t, empty)).Close()
	wantSound(t, empty, noteInvariant)
}

// TestVerifyPlanted: in busyFile, account a has seq 1 (done), 2, 3 and 4 (emitted);
// b 5 (done), 6 (dead), 7, 8; c 9 (done), 10 (retried), 11, 12; d 13, 14 (parked), …
func TestVerifyPlanted(t *testing.T) {
	const without = `ALTER TABLE outbox RENAME TO was; CREATE TABLE outbox (seq INTEGER PRIMARY KEY, client_id TEXT, message_id TEXT, type TEXT,
		payload TEXT, received_at INTEGER, request_id TEXT, attrs TEXT) STRICT; INSERT INTO outbox SELECT * FROM was; DROP TABLE was;
		DROP VIEW events; DROP VIEW account_events; `
	tests := []struct{ kind, sql, says string }{
		{"schema", "DROP VIEW events; DROP TABLE results", "table results is missing"},
		{"schema", "DROP TABLE function_tables", "table function_tables is missing"},
		{"schema", "DROP VIEW events; ALTER TABLE results DROP COLUMN turn", "no such column"},
		{"schema", without, "no unique key"},
		{"schema", without + "CREATE UNIQUE INDEX part ON outbox (message_id, client_id) WHERE seq > 3", "no unique key"},
		{"owner", "DELETE FROM owner", "0 owner rows"},
		{"duplicate", without + "INSERT INTO outbox SELECT 900, client_id, message_id, type, payload, 1, 'r', NULL FROM outbox WHERE seq = 1", "a m1 was accepted 2 times"},
		{"lost", "DELETE FROM pending WHERE seq = 3", "seq 3 of a is"},
		{"lost", "DELETE FROM results WHERE seq = 1", "seq 1 of a is"},
		{"orphan-pending", "INSERT INTO pending VALUES ('a', 30, 30, 1)", "turn 30 of a is of seq 30, which is not there"},
		{"orphan-pending", "UPDATE pending SET client_id = 'b' WHERE seq = 3", "which belongs to a"},
		{"orphan-result", "INSERT INTO results VALUES (30, 1, 30, 900, 'done', 1, 1, 1, NULL, NULL)", "seq 30 has a result and no event"},
		{"pending-twice", "INSERT INTO pending VALUES ('a', 900, 3, 1)", "seq 3 is pending 2 times"},
		{"settled-pending", "INSERT INTO pending VALUES ('a', 1, 1, 1)", "run 1 of seq 1 of a is pending, run 1 is settled"},
		{"lost", "DELETE FROM deliveries WHERE client_id = 's' AND deliver_at > 1e15", "seq 22 of s is neither scheduled nor pending"},
		{"scheduled", "INSERT INTO deliveries VALUES (900, 's', 1, 0)", "seq 900 has a deliver_at, and the event is not there"},
		{"scheduled", "INSERT INTO deliveries VALUES (1, 's', 1, 0)", "seq 1 has a deliver_at as one of s, and belongs to a"},
		{"scheduled", "UPDATE deliveries SET scheduled = 1 WHERE seq = 21", "seq 21 of s is scheduled and pending"},
		{"scheduled", "INSERT INTO deliveries VALUES (1, 'a', 1, 1)", "seq 1 of a is scheduled and settled"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE deliveries SET scheduled = 2 WHERE seq = 21", "scheduled of seq 21 is 2"},
		{"overtaken", "UPDATE deliveries SET scheduled = 0, deliver_at = 2 WHERE seq IN (21, 22); UPDATE deliveries SET deliver_at = 1 WHERE seq = 22; " +
			"UPDATE lanes SET turn = 30 WHERE seq = 21; INSERT INTO lanes VALUES ('s', 31, 22, 1); UPDATE owner SET next_seq = 40, pending = pending + 1", "seq 22 of s was due before seq 21"},
		{"orphan-result", "INSERT INTO attempt_errors VALUES (900, 1, 1, 1, 1, 'e')", "an error of seq 900 is kept"},
		{"orphan-result", "INSERT INTO emitted VALUES (900, 1)", "what is emitted of seq 900 is kept"},
		{"overtaken", "DELETE FROM pending WHERE seq = 3; INSERT INTO results VALUES (3, 1, 3, 900, 'done', 1, 1, 1, NULL, NULL)", "turn 3 of a was settled before turn 2"},
		{"overtaken", "UPDATE results SET settled = CASE seq WHEN 5 THEN 901 ELSE 900 END WHERE seq IN (5, 6)", "turn 6 of b was settled before turn 5"},
		{"counter", "UPDATE owner SET next_seq = 20", "next_seq is 20, but seq 22 is used"},
		{"counter", "UPDATE pending SET turn = 900 WHERE seq = 4", "but turn 900 is used"},
		{"counter", "UPDATE results SET turn = 900 WHERE seq = 1", "but turn 900 is used"},
		{"counter", "UPDATE owner SET next_settled = 6", "next_settled is 6, but 6 is used"},
		{"counter", "UPDATE results SET settled = 1 WHERE seq IN (1, 5)", "place 1 in the order of settles is used 2 times"},
		{"counter", "UPDATE owner SET flushed = 900", "but flushed seq 900 is used"},
		{"history", "DELETE FROM history WHERE seq = 4", "seq 4 is not in the history of a"},
		{"history", "INSERT INTO history VALUES ('a', 5)", "the history of a has seq 5"},
		{"history", "INSERT INTO history VALUES ('a', 700)", "the history of a has seq 700"},
		{"account", "DELETE FROM accounts WHERE client_id = 'b'", "account b has events and no row"},
		{"account", "UPDATE accounts SET head_seq = 11 WHERE client_id = 'c'", "account c is held by seq 11,"},
		{"account", "UPDATE accounts SET parked = 1 WHERE client_id = 'a'", "account a is parked, and"},
		{"account", "UPDATE accounts SET attempts = 1 WHERE client_id = 'a'", "account a is retried, and"},
		{"account", "UPDATE accounts SET head_seq = 2 WHERE client_id = 'a'", "account a names seq 2,"},
		{"damaged", "PRAGMA foreign_keys = 0; INSERT INTO notes VALUES (1, 'a', 99)", "row 1 of notes refers to a row of parent"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE results SET status = 'lost' WHERE seq = 1", "status of seq 1 is 'lost'"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE accounts SET parked = 3 WHERE client_id = 'a'", "parked of account a is 3"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE owner SET one = 2", "one of owner is 2"},
		{"damaged", "PRAGMA ignore_check_constraints = 1; PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'output      TEXT', 'output      TEXT NOT NULL') WHERE name = 'results'", "NULL value in results.output"},
		{"damaged", "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'message_id, client_id', 'client_id, message_id') WHERE name = 'outbox'", "outbox"},
		{"empty-note", "INSERT INTO notes VALUES (7, '', NULL)", "note 7 is empty"},
		{"invariant-query", "DROP TABLE notes", "empty-note: "},
	}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			path := busyFile(t)
			conn := raw(t, path)
			run(t, conn, test.sql)
			conn.Close()
			violations, err := file.Verify(t.Context(), path, []db.Invariant{noteInvariant})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				if v.Kind == test.kind && strings.Contains(v.Detail, test.says) {
					return
				}
			}
			t.Errorf("%s\nfound %v\nwant %s: %s", test.sql, violations, test.kind, test.says)
		})
	}
}

func TestVerifyInvariantsThatCanNotRun(t *testing.T) {
	path := busyFile(t)
	violations, err := file.Verify(t.Context(), path, []db.Invariant{
		{Kind: "a", Query: "SELECT nonsense FROM nowhere"}, {Kind: "b", Query: "DELETE FROM outbox"}, {Kind: "c", Query: "COMMIT"}, {Kind: "d", Query: "SELECT 1; DELETE FROM outbox"},
		{Kind: "e", Query: "SELECT 'found'"}, {Kind: "f", Query: "SELECT NULL, 2"}, {Kind: "g", Query: "SELECT 1 WHERE false"}})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, v := range violations {
		kinds = append(kinds, v.Kind+" "+v.Detail[:min(1, len(v.Detail))])
	}
	if got := strings.Join(kinds, ","); got != "invariant-query a,invariant-query b,invariant-query c,invariant-query d,e f,f " {
		t.Errorf("got %s: %v", got, violations)
	}
	wantSound(t, path)
}

func TestVerifyIsBounded(t *testing.T) {
	path := busyFile(t)
	conn := raw(t, path)
	run(t, conn, "INSERT INTO pending "+endless+"SELECT 'x' || i, i + 1000, i + 1000, 1 FROM n LIMIT 5000")
	conn.Close()
	violations, err := file.Verify(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	counts, last := map[string]int{}, ""
	for _, v := range violations {
		if counts[v.Kind]++; v.Kind == "orphan-pending" {
			last = v.Detail
		}
	}
	if counts["orphan-pending"] != 101 || last != "and 4900 more" {
		t.Errorf("got %v, the last %q", counts, last)
	}
}

func TestVerifyEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := file.Verify(ctx, busyFile(t), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestVerifyBesideWriter: each look is one consistent state, whatever is written.
func TestVerifyBesideWriter(t *testing.T) {
	t.Parallel()
	d := open(t, options(t, tempFile(t)))
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ev := event(fmt.Sprint("c", i), fmt.Sprint(n))
				r, err := d.Append(context.Background(), ev)
				if err != nil {
					t.Error(err)
					return
				}
				ev.Seq, ev.Position, ev.Run, ev.Attempt = r.Seq, r.Seq, 1, 1
				if _, err := d.Settle([]db.Settlement{done(ev, note(fmt.Sprint(i, " ", n)))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 8 {
		wantSound(t, d.path)
	}
	close(stop)
	writers.Wait()
}

// TestVerifyCanNotJudge: what is no file of this version is an error, and no violation.
func TestVerifyCanNotJudge(t *testing.T) {
	path := tempFile(t)
	for content, want := range map[string]error{"": db.ErrForeign, "x": db.ErrForeign, strings.Repeat("not a database ", 1000): db.ErrCorrupt} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if violations, err := file.Verify(t.Context(), path, nil); !errors.Is(err, want) || len(violations) > 0 {
			t.Errorf("%.10q: %v, %v; want %v", content, violations, err, want)
		}
	}
	sound := busyFile(t)
	for text, want := range map[string]error{
		"PRAGMA application_id = 1": db.ErrForeign, "PRAGMA application_id = 0; PRAGMA user_version = 0": file.ErrUnmarked, "PRAGMA user_version = 0": file.ErrUnmarked,
		fmt.Sprintf("PRAGMA user_version = %d", file.SchemaVersion+1): db.ErrNewer, fmt.Sprintf("PRAGMA user_version = %d", file.SchemaVersion-1): file.ErrOlder,
	} {
		path := tempFile(t)
		if err := file.Backup(t.Context(), sound, path, file.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		run(t, raw(t, path), text)
		if violations, err := file.Verify(t.Context(), path, nil); !errors.Is(err, want) || len(violations) > 0 {
			t.Errorf("%s: %v, %v; want %v", text, violations, err, want)
		}
	}
}

// TestLoadedFromADump: a file whose marks are lost is refused by all, with the way back;
// and is sound when it has gone it.
func TestLoadedFromADump(t *testing.T) {
	path, to := tempFile(t), tempFile(t)
	if err := file.Backup(t.Context(), busyFile(t), path, file.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	loaded := raw(t, path)
	run(t, loaded, "PRAGMA application_id = 0; PRAGMA user_version = 0")
	loaded.Close()
	_, oerr := Open(t.Context(), options(t, path))
	_, rerr := file.Restore(t.Context(), path, to, file.CopyOptions{})
	_, _, cerr := file.Compact(t.Context(), path, file.CopyOptions{})
	for what, err := range map[string]error{"open": oerr, "backup": file.Backup(t.Context(), path, to, file.CopyOptions{}), "restore": rerr, "compact": cerr} {
		if !errors.Is(err, file.ErrUnmarked) || !errors.Is(err, db.ErrForeign) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, pragmas, ok := strings.Cut(file.WayBack, "sqlite3 FILE '")
	pragmas, _, closed := strings.Cut(pragmas, "'")
	if !ok || !closed {
		t.Fatalf("no statement in %q", file.WayBack)
	}
	run(t, raw(t, path), strings.Replace(pragmas, "= N", fmt.Sprint("= ", file.SchemaVersion), 1))
	wantSound(t, path)
}

// FuzzVerifyDamaged: no damage makes Verify panic or run for ever, and a file whose
// bytes were not changed is sound.
func FuzzVerifyDamaged(f *testing.F) {
	sound, err := os.ReadFile(busyFile(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(len(sound)), uint32(0), []byte{})
	for _, at := range []uint32{0, 16, 18, 24, 28, 44, 56, 100, 103, 105, 108, 4096, 4099, 4101, 4104, 8192, 12288, 16384, 20480} {
		f.Add(uint32(len(sound)), at, []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(uint32(len(sound)), at, []byte{0, 0, 0, 1})
	}
	for _, size := range []uint32{0, 1, 99, 100, 4096, 5000, 20480} {
		f.Add(size, uint32(0), []byte{})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, size, at uint32, flips []byte) {
		damaged := append([]byte(nil), sound[:min(int(size), len(sound))]...)
		changed := len(damaged) != len(sound)
		for i, b := range flips {
			if i += int(at); i < len(damaged) && b != 0 {
				damaged[i] ^= b
				changed = true
			}
		}
		temp, err := os.CreateTemp(dir, "damaged")
		if err != nil {
			t.Fatal(err)
		}
		path := temp.Name()
		defer func() {
			matches, _ := filepath.Glob(path + "*")
			for _, m := range matches {
				os.Remove(m)
			}
		}()
		if _, err := temp.Write(damaged); err != nil {
			t.Fatal(err)
		}
		temp.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		violations, err := file.Verify(ctx, path, []db.Invariant{noteInvariant})
		if ctx.Err() != nil {
			t.Fatal("it does not end")
		}
		if !changed && (err != nil || len(violations) > 0) {
			t.Errorf("a sound file: %v, %v", violations, err)
		}
	})
}

// operatedFile is busyFile after operators were there: account a has seq 1 replayed
// (runs 1 and 2) and 4 in the middle of a replay; b 6 redriven and pending; d skipped;
// e paused and its 19 cancelled before 18; a type paused.
func operatedFile(t testing.TB) string {
	t.Helper()
	path := busyFile(t)
	d := open(t, options(t, path))
	for _, a := range []db.Command{
		{Verb: db.Replay, ClientID: "a"}, {Verb: db.Redrive, Seq: 6}, {Verb: db.Skip, ClientID: "d", Seq: 14},
		{Verb: db.Cancel, ClientID: "e", Seq: 19},
		{Verb: db.Pause, ClientID: "e"}, {Verb: db.Pause, Type: "note"}, {Verb: db.Replay, ClientID: "c"},
	} {
		mustAct(t, d, a)
	}
	if _, err := d.ExpandReplay("a"); err != nil {
		t.Fatal(err)
	}
	evs, _, err := d.PendingAfter(t.Context(), "a", -1<<63, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	evs[0].Attempt = 1
	settle(t, d, done(evs[0], nil))
	if _, err := d.ExecuteAll(t.Context(), db.BulkCommand{Verb: db.Redrive, ClientID: "d"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyPlantedActs(t *testing.T) {
	wantSound(t, operatedFile(t), noteInvariant)
	tests := []struct{ kind, sql, says string }{
		{"schema", "DROP TABLE audit", "table audit is missing"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE runs SET status = 'lost' WHERE seq = 1", "status of run 1 of seq 1 is 'lost'"},
		{"value", "PRAGMA ignore_check_constraints = 1; UPDATE accounts SET paused = 2 WHERE client_id = 'e'", "paused of account e is 2"},
		{"settled-pending", "INSERT INTO pending VALUES ('a', -4611686018427387000, 1, 3)", "run 3 of seq 1 of a is pending, run 2 is settled"},
		{"orphan-result", "INSERT INTO runs SELECT 900, run, turn, settled, status, attempts, started_at, finished_at, output, error FROM runs WHERE seq = 1", "run 1 of seq 900 is kept, and the event is not"},
		{"run", "DELETE FROM runs WHERE seq = 1", "seq 1 is at run 2, and 0 earlier ones are kept"},
		{"run", "DELETE FROM runs WHERE seq = 6", "seq 6 is at run 2, and 0 earlier ones are kept"},
		{"run", "UPDATE runs SET run = 2 WHERE seq = 6", "run 2 of seq 6 is kept as an earlier one, and the present one is 2"},
		{"overtaken", "UPDATE runs SET settled = 0 WHERE seq = 6", "turn 6 of b was settled before turn 5"},
		{"overtaken", "DELETE FROM audit WHERE client_id = 'a' AND verb = 'replay'", "the replayed events of a begin again 1 times, and 0 replays were ordered"},
		{"overtaken", "DELETE FROM audit WHERE verb = 'cancel'", "turn 19 of e was settled before turn 18"},
		{"overtaken", "UPDATE audit SET answer = 'x' WHERE verb = 'cancel'", "turn 19 of e was settled before turn 18"},
		{"overtaken", "UPDATE audit SET answer = json_set(answer, '$.run', 2) WHERE verb = 'cancel'", "turn 19 of e was settled before turn 18"},
		{"overtaken", "UPDATE results SET status = 'done' WHERE seq = 19", "turn 19 of e was settled before turn 18"},
		{"counter", "UPDATE results SET turn = turn + 900 WHERE seq = 1", "is used"},
		{"counter", "UPDATE runs SET settled = 900 WHERE seq = 1", "but 900 is used"},
		{"counter", "UPDATE runs SET settled = 2 WHERE seq = 6; UPDATE results SET settled = 2 WHERE seq = 5", "place 2 in the order of settles is used 2 times"},
		{"account", "UPDATE accounts SET replay_to = NULL WHERE client_id = 'c'", "the replay of account c goes from"},
		{"audit", "DELETE FROM audit WHERE verb = 'redrive' AND client_id = 'b'", "run 1 of seq 6 of b was not the last, and nobody redrove or replayed it"},
		{"audit", "DELETE FROM audit WHERE client_id = 'e'", "account e is paused, and nobody did that"},
		{"audit", "DELETE FROM audit WHERE type = 'note'", "type 'note' is paused, and nobody did that"},
		{"audit", "DELETE FROM audit WHERE bulk = 0", "is a part of bulk act"},
		{"audit", "UPDATE audit SET answer = 'x' WHERE id = 1", "row 1 of the audit has no JSON"},
	}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			path := operatedFile(t)
			conn := raw(t, path)
			run(t, conn, test.sql)
			conn.Close()
			violations, err := file.Verify(t.Context(), path, []db.Invariant{noteInvariant})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				if v.Kind == test.kind && strings.Contains(v.Detail, test.says) {
					return
				}
			}
			t.Errorf("%s\nfound %v\nwant %s: %s", test.sql, violations, test.kind, test.says)
		})
	}
}
