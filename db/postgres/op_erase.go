package postgres

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// eraseChunk is how many rows one transaction of an erasure deletes.
const eraseChunk = 500

// Erase deletes everything of a client: its events with their results, its pending runs, its
// account, and the rows of functions' tables that Options.Erasures name. It returns when all
// is committed. The deleted rows stand in the server's files until VACUUM, and in archives of
// its WAL and in replicas' for as long as those are kept.
//
// What operators did to the client stays in audit, without their reasons, under EraseMark in
// place of its name; and so does the erasure itself, with operator and reason.
//
// From its first commit until it ends, new events of the client are refused with ErrErasing,
// and attempts that run write nothing (ErrSuperseded). After a crash the next Open goes on
// with it. Erasing what is not there is no error. Afterwards the client_id is a new one:
// nothing is a repeat of anything before.
//
// Errors: ErrErasing, where somebody else erases the client now; the storage's, as of Settle:
// what was deleted by then stays deleted, and Erase is to be called again.
func (d *DB) Erase(clientID, who, reason string) (db.EraseReport, error) {
	return d.erasures.erase(clientID, who, reason)
}

func (s *erasures) erase(clientID, who, reason string) (db.EraseReport, error) {
	e := &eraser{all: s, clientID: clientID, done: db.EraseReport{Client: db.EraseMark(clientID), Rows: map[string]int64{}}}
	// Of two at once the first to end would let events in, and the other delete them.
	if _, busy := s.busy.LoadOrStore(clientID, true); busy {
		return e.done, fmt.Errorf("erase: %w", db.ErrErasing)
	}
	defer s.busy.Delete(clientID)
	if err := e.run(stored(who), stored(db.Bounded(reason))); err != nil {
		return e.done, fmt.Errorf("erase: %w", err)
	}
	return e.done, nil
}

type eraser struct {
	all      *erasures
	clientID string
	done     db.EraseReport
}

func (e *eraser) run(who, reason string) error {
	begin := func(t *transactionOf) error { return e.begin(t, who, reason) }
	if err := e.all.db.solo(background, begin, func() { e.all.erasing.add(e.clientID) }); err != nil {
		return err
	}
	for _, step := range []func(t *transactionOf) (int64, error){e.pending, e.events} {
		if err := e.repeat(step); err != nil {
			return err
		}
	}
	for _, r := range e.all.tables {
		if err := e.rows(r); err != nil {
			return fmt.Errorf("rows of %s: %w", r.Table, err)
		}
	}
	if err := e.repeat(e.audit); err != nil {
		return err
	}
	return e.all.db.solo(background, e.end, func() {
		delete(e.all.db.w.memory.known, e.clientID)
		e.all.erasing.remove(e.clientID)
	})
}

// repeat runs a step, each time in a transaction of its own, until nothing is left.
func (e *eraser) repeat(step func(t *transactionOf) (int64, error)) error {
	for {
		var n int64
		err := e.all.db.solo(background, func(t *transactionOf) (err error) {
			n, err = step(t)
			return err
		}, nil)
		if err != nil || n == 0 {
			return err
		}
	}
}

// begin marks the account: from this commit on nothing of it is taken or run.
func (e *eraser) begin(t *transactionOf, who, reason string) error {
	if _, err := t.exec(`INSERT INTO erasing (client_id, since, who, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (client_id) DO NOTHING`,
		e.clientID, t.now, who, reason); err != nil {
		return fmt.Errorf("mark the account: %w", err)
	}
	if _, err := t.exec(`UPDATE accounts SET parked = 0, paused = 0, head_seq = NULL, attempts = 0, next_at = NULL, last_error = NULL,
		replay_next = NULL, replay_to = NULL, replay_settled = NULL WHERE client_id = $1`, e.clientID); err != nil {
		return fmt.Errorf("release account: %w", err)
	}
	t.d.rest(e.clientID, restParked|restPaused, false)
	t.d.changes = append(t.d.changes, db.Change{ClientID: e.clientID, Position: t.w.nextNumber(), Reread: true})
	return nil
}

// pending deletes the events that are still to run: each with its place, so that none is ever
// neither pending nor settled.
func (e *eraser) pending(t *transactionOf) (int64, error) {
	seqs, err := t.numbers(`SELECT seq FROM pending WHERE client_id = $1 ORDER BY turn LIMIT $2`, e.clientID, eraseChunk)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	if _, err := t.exec("DELETE FROM lanes WHERE client_id = $1 AND seq = ANY($2)", e.clientID, seqs); err != nil {
		return 0, err
	}
	for _, seq := range seqs {
		t.d.settled = append(t.d.settled, settled{seq: seq}) // ends every Wait for it
	}
	t.d.pend(e.clientID, -len(seqs))
	err = t.deleteEvents(seqs)
	e.done.Events, e.done.Pending = e.done.Events+int64(len(seqs)), e.done.Pending+int64(len(seqs))
	return int64(len(seqs)), err
}

// events deletes those that are finished.
func (e *eraser) events(t *transactionOf) (int64, error) {
	seqs, err := t.numbers("SELECT seq FROM outbox WHERE client_id = $1 LIMIT $2", e.clientID, eraseChunk)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	e.done.Events += int64(len(seqs))
	return int64(len(seqs)), t.deleteEvents(seqs)
}

// numbers reads rows of one number.
func (t *transactionOf) numbers(text string, args ...any) (list []int64, err error) {
	_, err = t.w.trip(&call{text: text, args: args, read: func(rows pgx.Rows) error {
		list, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	}})
	return list, err
}

// deleteEvents deletes events that are not pending, with their results and earlier runs.
func (t *transactionOf) deleteEvents(seqs []int64) error {
	for _, table := range []string{"results", "runs", "outbox"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE seq = ANY($1)", seqs); err != nil {
			return fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	return nil
}

var rowid = regexp.MustCompile(`(?i)\browid\b`)

// erasureQuery returns the query of an erasure for PostgreSQL, whose name for the place of a
// row, rowid on SQLite, is ctid.
func erasureQuery(r db.Erasure) (native string, names []string) {
	return rewrite(rowid.ReplaceAllString(r.Rows, "ctid"))
}

// key returns the column that the query of an erasure selects.
func key(r db.Erasure) string {
	if rowid.MatchString(r.Rows) {
		return "ctid"
	}
	m := firstColumn.FindStringSubmatch(r.Rows)
	if m == nil {
		return "id"
	}
	return m[1]
}

var firstColumn = regexp.MustCompile(`(?is)^\s*SELECT\s+(?:\w+\.)?("?\w+"?)\s`)

// rows deletes what a function keeps in a table.
func (e *eraser) rows(r db.Erasure) error {
	native, _ := erasureQuery(r)
	text := fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT * FROM (%s) r LIMIT %d)", pgx.Identifier{r.Table}.Sanitize(), key(r), native, eraseChunk)
	return e.repeat(func(t *transactionOf) (int64, error) {
		for _, on := range []string{"enable_seqscan", "enable_hashjoin"} { // the query may scan
			if _, err := t.exec("SET LOCAL " + on + " = on"); err != nil {
				return 0, err
			}
		}
		n, err := t.exec(text, e.clientID)
		e.done.Rows[r.Table] += n
		if n == 0 && e.done.Rows[r.Table] == 0 {
			delete(e.done.Rows, r.Table)
		}
		return n, err
	})
}

// audit takes the client's name and the operators' reasons out of what was done to it.
func (e *eraser) audit(t *transactionOf) (int64, error) {
	return t.exec(`UPDATE audit SET client_id = $1, reason = '', key = NULL WHERE id IN (SELECT id FROM audit WHERE client_id = $2 LIMIT $3)`,
		e.done.Client, e.clientID, eraseChunk)
}

// end deletes the account's row and the mark, which becomes a row of audit.
func (e *eraser) end(t *transactionOf) error {
	answer, err := json.Marshal(map[string]any{"changed": true, "events": e.done.Events, "pending": e.done.Pending, "rows": e.done.Rows})
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO audit (at, who, verb, client_id, reason, answer) SELECT $1, who, $2, $3, reason, $4 FROM erasing WHERE client_id = $5`,
		t.now, string(db.Erasing), e.done.Client, string(answer), e.clientID)
	if err != nil {
		return fmt.Errorf("insert audit: %w", err)
	}
	for _, table := range []string{"accounts", "erasing"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE client_id = $1", e.clientID); err != nil {
			return fmt.Errorf("delete the account: %w", err)
		}
	}
	return nil
}
