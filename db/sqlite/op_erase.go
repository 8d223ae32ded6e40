package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// Bounds of an erasure's transactions.
const (
	eraseChunk = 200     // rows of one operation
	erasePage  = 1 << 16 // rowids that are read at once
)

// Erase deletes everything of a client: its events with their results, its pending runs,
// its account, and the rows of functions' tables that Options.Erasures name.
// Rows and pages that it frees are overwritten, and the WAL is emptied; where SQLite
// has moved rows of the client between pages that others share, traces may be left
// until Compact writes the file anew. It returns when all is committed.
//
// What operators did to the client stays in audit, without their reasons, under
// EraseMark in place of its name; and so does the erasure itself, with operator and reason.
// An erasure that was cut short counts what was left.
//
// From its first commit until it ends, new events of the client are refused with
// ErrErasing, and attempts that run write nothing (ErrSuperseded). After a crash the
// next Open goes on with it. Erasing what is not there is no error. Afterwards the
// client_id is a new one: nothing is a repeat of anything before.
//
// Errors: ErrErasing, where somebody else erases the client now; the storage's, as of
// Settle: what was deleted by then stays deleted, and Erase is to be called again.
func (d *DB) Erase(clientID, who, reason string) (db.EraseReport, error) {
	return d.erasures.erase(clientID, who, reason, nil)
}

type eraser struct {
	all      *erasures
	ctx      context.Context // ends with the committer
	clientID string
	between  func() error
	done     db.EraseReport
	begun    bool // something is deleted, or about to be
}

func (e *eraser) run(who, reason string) error {
	begin := func(w *writer) error { return e.begin(w, who, reason) }
	if err := e.do(begin, func() { e.all.erasing.add(e.clientID) }); err != nil {
		return err
	}
	e.begun = true
	for _, step := range []func() error{e.scheduled, e.pending, e.events, e.rows, e.audit} {
		if err := step(); err != nil {
			return err
		}
	}
	var w *writer
	end := func(writer *writer) error {
		w = writer
		return e.end(w)
	}
	return e.do(end, func() {
		delete(w.known, e.clientID)
		e.all.erasing.remove(e.clientID)
		whole, _ := w.conn.ShrinkWAL() // what it can't do the report says
		w.moved = w.moved || whole
		e.done.InWAL = !whole
	})
}

// do runs a part of an erasure, in a transaction of its own: references are not looked for
// there, which would scan every table that refers to a deleted row, while everyone waits.
// after may be nil.
func (e *eraser) do(fn workFunc, after func()) error {
	err := e.all.committer.Do(background, &operation{Work: fn, After: after, Size: 512 * eraseChunk, RetriedWhenFull: true, Person: !e.begun, Exclusive: true})
	if err == nil && e.between != nil {
		return e.between()
	}
	return err
}

// delete is do with nothing afterwards.
func (e *eraser) delete(fn workFunc) error { return e.do(fn, nil) }

// numbers reads rows of one or two numbers.
func (e *eraser) numbers(query string, args ...any) (list [][2]int64, err error) {
	r := e.all.reader
	r.guard.Lock()
	defer r.guard.Unlock()
	rows, err := r.queryer().QueryContext(e.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var n [2]int64
		if err := rows.Scan([]any{&n[0], &n[1]}[:min(len(columns), 2)]...); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, rows.Err()
}

// scheduled deletes the events whose time has not come.
func (e *eraser) scheduled() error {
	for {
		list, err := e.numbers("SELECT seq FROM scheduled WHERE client_id = ? ORDER BY seq LIMIT ?", e.clientID, eraseChunk)
		if err != nil || len(list) == 0 {
			return err
		}
		err = e.delete(func(w *writer) error {
			for _, p := range list {
				if err := w.deleteEvent(e.clientID, p[0]); err != nil {
					return err
				}
				w.settled = append(w.settled, q.Result{Seq: p[0]}) // ends every Wait for it
			}
			w.schedule(e.clientID, -len(list))
			return nil
		})
		if err != nil {
			return err
		}
		e.done.Events, e.done.Pending = e.done.Events+int64(len(list)), e.done.Pending+int64(len(list))
	}
}

// pending deletes the events that are still to run: each with its place, so that none
// is ever neither pending nor settled.
func (e *eraser) pending() error {
	for {
		list, err := e.numbers("SELECT turn, seq FROM pending WHERE client_id = ? ORDER BY turn LIMIT ?", e.clientID, eraseChunk)
		if err != nil || len(list) == 0 {
			return err
		}
		err = e.delete(func(w *writer) error {
			for _, p := range list {
				if err := w.rare.exec("DELETE FROM lanes WHERE client_id = ? AND turn = ?", e.clientID, p[0]); err != nil {
					return err
				}
				if err := w.deleteEvent(e.clientID, p[1]); err != nil {
					return err
				}
				w.settled = append(w.settled, q.Result{Seq: p[1]}) // ends every Wait for it
			}
			w.pend(e.clientID, -len(list))
			return nil
		})
		if err != nil {
			return err
		}
		e.done.Events, e.done.Pending = e.done.Events+int64(len(list)), e.done.Pending+int64(len(list))
	}
}

// events deletes those that are finished.
func (e *eraser) events() error {
	for {
		list, err := e.numbers("SELECT seq FROM account_events WHERE client_id = ? LIMIT ?", e.clientID, eraseChunk)
		if err != nil || len(list) == 0 {
			return err
		}
		err = e.delete(func(w *writer) error {
			for _, seq := range list {
				if err := w.deleteEvent(e.clientID, seq[0]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		e.done.Events += int64(len(list))
	}
}

// rows deletes what the functions keep.
func (e *eraser) rows() error {
	for _, erasure := range e.all.tables {
		for {
			list, err := e.numbers(erasurePage(erasure), sql.Named("client_id", e.clientID))
			if err != nil {
				return fmt.Errorf("rows of %s: %w", erasure.Table, err)
			}
			if len(list) == 0 {
				break
			}
			for len(list) > 0 {
				some := list[:min(eraseChunk, len(list))]
				list = list[len(some):]
				err := e.delete(func(w *writer) error {
					for _, row := range some {
						if err := w.rare.exec(erasureDelete(erasure), row[0]); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return fmt.Errorf("rows of %s: %w", erasure.Table, err)
				}
				e.done.Rows[erasure.Table] += int64(len(some))
			}
		}
	}
	return nil
}

// audit takes the client's name and the operators' reasons out of what was done to it.
func (e *eraser) audit() error {
	for {
		list, err := e.numbers("SELECT id FROM audit WHERE client_id = ? LIMIT ?", e.clientID, eraseChunk)
		if err != nil || len(list) == 0 {
			return err
		}
		err = e.delete(func(w *writer) error {
			for _, id := range list {
				if err := w.rare.exec("UPDATE audit SET client_id = ?, reason = '', key = NULL WHERE id = ?", e.done.Client, id[0]); err != nil {
					return fmt.Errorf("audit: %w", err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func erasurePage(r db.Erasure) string {
	return fmt.Sprintf("SELECT * FROM (%s) LIMIT %d", r.Rows, erasePage)
}

func erasureDelete(r db.Erasure) string {
	return `DELETE FROM "` + strings.ReplaceAll(r.Table, `"`, `""`) + `" WHERE rowid = ?`
}

// prepareErasures finds out at the start what can't work.
func prepareErasures(c *conn.Conn, erasures []db.Erasure) error {
	for _, r := range erasures {
		for _, text := range []string{erasurePage(r), erasureDelete(r)} {
			stmt, err := c.PrepareRows(text)
			if err != nil {
				return fmt.Errorf("erasure of %s: %w", r.Table, err)
			}
			stmt.Close()
		}
	}
	return nil
}

// deleteEvent deletes a client's event that is not pending, with everything that hangs
// from it in the engine's tables.
func (w *writer) deleteEvent(clientID string, seq int64) error {
	for _, table := range []string{"results", "runs", "deliveries", "attempt_errors", "emitted"} {
		if err := w.rare.exec("DELETE FROM "+table+" WHERE seq = ?", seq); err != nil {
			return fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	if err := w.rare.exec("DELETE FROM history WHERE client_id = ? AND seq = ?", clientID, seq); err != nil {
		return fmt.Errorf("delete from history: %w", err)
	}
	if err := w.rare.exec("DELETE FROM outbox WHERE seq = ? AND client_id = ?", seq, clientID); err != nil {
		return fmt.Errorf("delete from outbox: %w", err)
	}
	w.move(seq, stageDeleted)
	return nil
}

// begin marks the account: from this commit on nothing of it is taken or run.
func (e *eraser) begin(w *writer, who, reason string) error {
	if err := w.rare.exec("INSERT INTO erasing (client_id, since, who, reason) VALUES (?, ?, ?, ?) ON CONFLICT (client_id) DO NOTHING",
		e.clientID, w.now, who, reason); err != nil {
		return fmt.Errorf("mark the account: %w", err)
	}
	err := w.rare.exec(`UPDATE accounts SET parked = 0, paused = 0, head_seq = NULL, attempts = 0, next_at = NULL, last_error = NULL,
		replay_next = NULL, replay_to = NULL, replay_settled = NULL WHERE client_id = ?`, e.clientID)
	if err != nil {
		return fmt.Errorf("release account: %w", err)
	}
	w.rest(e.clientID, restParked|restPaused, false)
	w.changes = append(w.changes, db.Change{ClientID: e.clientID, Position: w.nextSeq, Reread: true})
	return nil
}

// end deletes the account's row and the mark, which becomes a row of audit.
func (e *eraser) end(w *writer) error {
	answer, err := json.Marshal(map[string]any{"changed": true, "events": e.done.Events, "pending": e.done.Pending, "rows": e.done.Rows})
	if err != nil {
		return err
	}
	err = w.rare.exec("INSERT INTO audit (at, who, verb, client_id, reason, answer) SELECT ?, who, ?, ?, reason, ? FROM erasing WHERE client_id = ?",
		w.now, string(db.Erasing), e.done.Client, string(answer), e.clientID)
	if err != nil {
		return fmt.Errorf("insert audit: %w", err)
	}
	for _, text := range []string{"DELETE FROM accounts WHERE client_id = ?", "DELETE FROM erasing WHERE client_id = ?"} {
		if err := w.rare.exec(text, e.clientID); err != nil {
			return fmt.Errorf("delete the account: %w", err)
		}
	}
	return nil
}
