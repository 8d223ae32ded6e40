package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"inturn/db"
)

// account is an account's row, and its head: head.seq is 0 if nothing is pending.
type account struct {
	parked, paused, replaying bool
	headSeq, attempts         int64
	nextAt                    *int64
	head                      run
}

// run is a pending run.
type run struct{ turn, seq, run int64 }

func (t *transactionOf) account(clientID string) (a account, err error) {
	var parked, paused int
	err = t.row(`SELECT parked, paused, coalesce(head_seq, 0), attempts, next_at, replay_next IS NOT NULL FROM accounts WHERE client_id = $1`, []any{clientID},
		&parked, &paused, &a.headSeq, &a.attempts, &a.nextAt, &a.replaying)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, refusal{db.ErrNotFound}
	}
	if err != nil {
		return a, fmt.Errorf("read account: %w", err)
	}
	a.parked, a.paused = parked == 1, paused == 1
	err = t.row(`SELECT turn, seq, run FROM (
			(SELECT turn, seq, run FROM lanes WHERE client_id = $1 ORDER BY turn LIMIT 1)
			UNION ALL (SELECT turn, seq, run FROM unfiled WHERE client_id = $1 ORDER BY turn LIMIT 1)) p ORDER BY turn LIMIT 1`, []any{clientID},
		&a.head.turn, &a.head.seq, &a.head.run)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return a, fmt.Errorf("look for head: %w", err)
	}
	return a, nil
}

// changed notes what the account's row says now.
func (t *transactionOf) changed(clientID string, reread bool) error {
	a, err := t.account(clientID)
	if err != nil {
		return err
	}
	c := db.Change{
		ClientID: clientID, Paused: a.paused, Parked: a.parked, Attempts: int(a.attempts), Replaying: a.replaying, Reread: reread, Position: t.w.nextNumber(),
	}
	if a.nextAt != nil {
		c.NextAt = unixMicro(*a.nextAt)
	}
	t.d.changes = append(t.d.changes, c)
	return nil
}

// release clears what is said of the account's head.
func (t *transactionOf) release(clientID string) error {
	if _, err := t.exec(releaseAccounts, []string{clientID}); err != nil {
		return fmt.Errorf("release account: %w", err)
	}
	t.d.rest(clientID, restParked, false)
	return nil
}

func (x *command) pauseType() error {
	var n int64
	var err error
	if x.Verb == db.Pause {
		n, err = x.t.exec(`INSERT INTO pauses (type, since, who, reason) VALUES ($1, $2, $3, $4) ON CONFLICT (type) DO NOTHING`,
			stored(x.Type), x.t.now, stored(x.Who), stored(x.Reason))
	} else {
		n, err = x.t.exec("DELETE FROM pauses WHERE type = $1", stored(x.Type))
	}
	if err != nil {
		return fmt.Errorf("%s type: %w", x.Verb, err)
	}
	if x.result.Changed = n == 1; x.result.Changed {
		x.t.d.changes = append(x.t.d.changes, db.Change{Type: x.Type, Paused: x.Verb == db.Pause})
	}
	return nil
}

// pauseAccount pauses an account or ends its pause. An account that has no event yet begins
// paused.
func (x *command) pauseAccount() error {
	if x.Verb == db.Pause {
		if _, err := x.t.exec(insertAccounts, []string{x.ClientID}); err != nil {
			return fmt.Errorf("insert account: %w", err)
		}
	}
	a, err := x.t.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = a.head.seq
	paused := x.Verb == db.Pause
	if x.result.Changed = paused != a.paused; !x.result.Changed {
		return nil
	}
	set := 0
	if paused {
		set = 1
	}
	if _, err := x.t.exec("UPDATE accounts SET paused = $2 WHERE client_id = $1", x.ClientID, set); err != nil {
		return fmt.Errorf("%s account: %w", x.Verb, err)
	}
	x.t.d.rest(x.ClientID, restPaused, paused)
	return x.t.changed(x.ClientID, false)
}

// retry lets the head run now. Its attempts so far are forgotten.
func (x *command) retry() error {
	a, err := x.t.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = a.head.seq
	if a.head.seq != x.Seq {
		return x.moved(a.head.seq)
	}
	if x.result.Changed = a.parked || a.attempts > 0; !x.result.Changed {
		return nil
	}
	if err := x.t.release(x.ClientID); err != nil {
		return err
	}
	return x.t.changed(x.ClientID, false)
}

// moved judges an act on a head that is another now: if this was done already, all is well.
func (x *command) moved(head int64) error {
	var n int
	err := x.t.row("SELECT count(*) FROM audit WHERE client_id = $1 AND verb = $2 AND seq = $3", []any{x.ClientID, string(x.Verb), x.Seq}, &n)
	switch {
	case err != nil:
		return fmt.Errorf("read audit: %w", err)
	case n == 0:
		return refusal{&db.HeadMovedError{Seq: head}}
	}
	return nil
}

// skip ends the head as dead.
func (x *command) skip() error {
	a, err := x.t.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = a.head.seq
	if a.head.seq != x.Seq {
		return x.moved(a.head.seq)
	}
	ev, err := x.event()
	if err != nil {
		return err
	}
	reason := "skipped"
	if x.Who != "" {
		reason += " by " + x.Who
	}
	if x.Reason != "" {
		reason += ": " + x.Reason
	}
	pending, err := x.setAside(a.head, ev, a, reason)
	if err == nil && !pending {
		err = refusal{db.ErrSuperseded}
	}
	return err
}

// setAside ends a run of the account a as dead. It reports false, and has written nothing,
// where the run is not pending.
func (x *command) setAside(r run, ev named, a account, reason string) (bool, error) {
	if pending, err := x.end(r); err != nil || !pending {
		return false, err
	}
	n, err := x.t.w.number()
	if err != nil {
		return false, refusal{err}
	}
	text := stored(db.Bounded(reason))
	result := settled{
		seq: r.seq, run: r.run, turn: r.turn, settled: n, status: string(db.Dead), started: x.t.now, finished: time.Now().UnixMicro(), reason: &text,
	}
	held := a.headSeq == r.seq
	if held {
		result.attempts = a.attempts
	}
	if _, err := x.t.w.trip(resultsCall([]settled{result})); err != nil {
		return false, fmt.Errorf("insert result: %w", err)
	}
	x.t.d.settled, x.t.d.dead = append(x.t.d.settled, result), append(x.t.d.dead, ev.typ)
	x.t.d.ended(ev.clientID, ev.messageID, ev.typ, &result)
	x.t.d.pend(x.ClientID, -1)
	if held {
		if err := x.t.release(x.ClientID); err != nil {
			return false, err
		}
	}
	after, err := x.t.account(x.ClientID)
	if err != nil {
		return false, err
	}
	x.result.Changed, x.result.HeadSeq = true, after.head.seq
	return true, x.t.changed(x.ClientID, true)
}

// end takes a run out of what is pending, and reports whether it was.
func (x *command) end(r run) (bool, error) {
	n, err := x.t.exec("DELETE FROM lanes WHERE client_id = $1 AND turn = $2 AND seq = $3 AND run = $4", x.ClientID, r.turn, r.seq, r.run)
	if err != nil || n == 1 {
		return n == 1, err
	}
	var pending bool
	err = x.t.row("SELECT EXISTS (SELECT 1 FROM unfiled WHERE client_id = $1 AND turn = $2 AND seq = $3 AND run = $4)",
		[]any{x.ClientID, r.turn, r.seq, r.run}, &pending)
	return pending, err
}

// named is the event that a Command names.
type named struct{ clientID, messageID, typ string }

func (x *command) event() (ev named, err error) {
	err = x.t.row("SELECT client_id, message_id, type FROM outbox WHERE seq = $1", []any{x.Seq}, &ev.clientID, &ev.messageID, &ev.typ)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && x.Seq < x.t.w.nextNumber():
		return named{}, refusal{db.ErrGone}
	case errors.Is(err, pgx.ErrNoRows):
		return named{}, refusal{db.ErrNotFound}
	case err != nil:
		return named{}, fmt.Errorf("look for event: %w", err)
	case x.ClientID != "" && x.ClientID != ev.clientID:
		return named{}, refusal{db.ErrNotFound}
	}
	return ev, nil
}

// ending returns the run of the event's result and how it ended; where it has none the run
// that is pending.
func (t *transactionOf) ending(seq int64) (run, place int64, status string, err error) {
	err = t.row("SELECT run, settled, status FROM results WHERE seq = $1", []any{seq}, &run, &place, &status)
	if errors.Is(err, pgx.ErrNoRows) {
		err = t.row("SELECT coalesce(max(run), 0) + 1 FROM runs WHERE seq = $1", []any{seq}, &run)
	}
	if err != nil {
		return 0, 0, "", fmt.Errorf("look for result: %w", err)
	}
	return run, place, status, nil
}

// redrive makes a dead event pending again, behind everything of its account.
func (x *command) redrive() error {
	ev, err := x.event()
	if err != nil {
		return err
	}
	clientID := ev.clientID
	if x.t.w.erasing.has(clientID) {
		return refusal{db.ErrErasing}
	}
	x.result.ClientID = clientID
	last, _, status, err := x.t.ending(x.Seq)
	if err != nil {
		return err
	}
	x.result.Run = last
	switch {
	case x.Run > last:
		return refusal{fmt.Errorf("%w: the latest run of seq %d is %d", db.ErrBadCommand, x.Seq, last)}
	case x.Run > 0 && x.Run < last:
		return nil // it was driven on already
	case status == "":
		return refusal{db.ErrStillPending}
	case status != string(db.Dead):
		return refusal{db.ErrNotDead}
	}
	turn, err := x.t.w.number()
	if err != nil {
		return refusal{err}
	}
	if err := x.t.runAgain(clientID, run{turn, x.Seq, last + 1}); err != nil {
		return err
	}
	x.result.Changed, x.result.Run = true, last+1
	a, err := x.t.account(clientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = a.head.seq
	return x.t.changed(clientID, true)
}

// runAgain moves an event's result to runs and makes r pending.
func (t *transactionOf) runAgain(clientID string, r run) error {
	n, err := t.exec(`WITH moved AS (DELETE FROM results WHERE seq = $1 RETURNING *)
		INSERT INTO runs (seq, run, turn, settled, status, attempts, started_at, finished_at, output, error)
		SELECT seq, run, turn, settled, status, attempts, started_at, finished_at, output, error FROM moved`, r.seq)
	if err == nil && n != 1 {
		err = refusal{fmt.Errorf("seq %d has %d results", r.seq, n)}
	}
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	if _, err := t.exec("INSERT INTO lanes (client_id, turn, seq, run) VALUES ($1, $2, $3, $4)", clientID, r.turn, r.seq, r.run); err != nil {
		return fmt.Errorf("insert pending: %w", err)
	}
	t.d.pend(clientID, 1)
	return nil
}

// cancel ends a pending event as dead, wherever it stands.
func (x *command) cancel() error {
	ev, err := x.event()
	if err != nil {
		return err
	}
	a, err := x.t.account(x.ClientID)
	if err != nil {
		return err
	}
	x.result.HeadSeq = a.head.seq
	last, _, status, err := x.t.ending(x.Seq)
	switch {
	case err != nil:
		return err
	case status != "":
		return x.cancelledBefore(last)
	case x.running != nil && (*x.running)(x.ClientID, x.Seq):
		return refusal{db.ErrTooLate}
	}
	turn := x.Seq
	if last > 1 {
		err := x.t.row("SELECT turn FROM lanes WHERE client_id = $1 AND seq = $2", []any{x.ClientID, x.Seq}, &turn)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("look for pending: %w", err)
		}
	}
	reason := "cancelled"
	if x.Reason != "" {
		reason += ": " + x.Reason
	}
	x.result.Run = last
	pending, err := x.setAside(run{turn, x.Seq, last}, ev, a, reason)
	if err == nil && !pending {
		err = refusal{db.ErrTooLate}
	}
	return err
}

// cancelledBefore judges a Cancel of a run that has ended: if it was cancelled, all is well.
func (x *command) cancelledBefore(run int64) error {
	var n int
	err := x.t.row(`SELECT count(*) FROM audit WHERE client_id = $1 AND verb = 'cancel' AND seq = $2 AND (answer::json->>'run')::bigint = $3`,
		[]any{x.ClientID, x.Seq, run}, &n)
	switch {
	case err != nil:
		return fmt.Errorf("read audit: %w", err)
	case n == 0:
		return refusal{db.ErrTooLate}
	}
	x.result.Run = run
	return nil
}
