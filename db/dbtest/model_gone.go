package dbtest

import (
	"context"
	"encoding/json"
	"slices"
	"testing/synctest"
	"time"

	"inturn/db"
)

// gone is what the model knows of events that are not in the file any more.
type gone struct {
	keys    map[string]bool      // client/message
	emitted map[string]time.Time // by these events, and when that is due
	runs    []ran                // whose effects are still there: retention leaves functions' tables alone
	busy    map[string]time.Time // until then a function may be under way for an event of this client that was erased, or set aside
	resumed int                  // erasures that a restart went on with: meanwhile nobody could emit to the account
}

// kept is an event in the file.
type kept struct {
	seq                int64
	client, key        string
	script             script
	finished           time.Time // zero if it has no result
	pending, replaying bool
}

// rows asks the file.
func (w *world) rows(query string, args ...any) [][]any {
	rows, err := w.engine.store.Query(context.Background(), query, args...)
	if err != nil {
		w.wrong("%s: %v", query, err)
	}
	return rows
}

func (w *world) kept() (list []kept) {
	rows := w.rows(`SELECT o.seq, o.client_id, o.message_id, o.payload, coalesce(r.finished_at, 0),
			EXISTS (SELECT 1 FROM pending p WHERE p.client_id = o.client_id AND p.seq = o.seq),
			CASE WHEN o.seq BETWEEN a.replay_next AND a.replay_to THEN 1 ELSE 0 END
		FROM outbox o LEFT JOIN results r ON r.seq = o.seq LEFT JOIN accounts a ON a.client_id = o.client_id WHERE o.type <> 'audit'`)
	for _, r := range rows {
		var s script
		_ = json.Unmarshal([]byte(r[3].(string)), &s)
		k := kept{seq: r[0].(int64), client: r[1].(string), key: r[1].(string) + "/" + r[2].(string), script: s,
			pending: r[5].(int64) == 1, replaying: r[6].(int64) == 1}
		if at := r[4].(int64); at > 0 {
			k.finished = time.UnixMicro(at)
		}
		list = append(list, k)
	}
	return list
}

// took notes that these events went out of the file: sent again they are new ones.
func (w *world) took(list []kept, runs []ran) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seqs := map[int64]bool{}
	for _, k := range list {
		seqs[k.seq], w.gone.keys[k.key] = true, true
		done := func(r ran) bool { return r.seq == k.seq && r.status == string(db.Done) }
		if k.script.Emits != "" && slices.ContainsFunc(runs, done) {
			w.gone.emitted[k.script.Emits+"/of "+k.key] = k.script.due()
		}
	}
	for _, e := range w.sent {
		e.gone = e.gone || e.answered && seqs[e.seq]
	}
}

// retain lets retention look once. Nothing else happens meanwhile, but for functions
// that are under way: so it is known exactly what it must delete.
func (w *world) retain(age time.Duration) {
	if synctest.Wait(); w.engine.isDead() {
		return
	}
	before, runs, now := w.kept(), w.ranAll(), time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.engine.store.Retain(ctx, age)
	}()
	synctest.Wait() // it has looked, and would look again
	cancel()
	<-ended
	left := map[int64]bool{}
	for _, k := range w.kept() {
		left[k.seq] = true
	}
	var deleted []kept
	for _, k := range before {
		may := !k.pending && !k.replaying && !k.finished.IsZero() && k.finished.Before(now.Add(-age))
		if may == left[k.seq] {
			w.wrong("retention of %v: %+v is still there: %t", age, k, left[k.seq])
		}
		if !left[k.seq] {
			deleted = append(deleted, k)
			for _, r := range runs {
				if r.seq != k.seq {
					continue
				}
				if w.gone.runs = append(w.gone.runs, r); setAside(r.reason) != "" {
					w.gone.busy[k.client] = now.Add(ignored)
				}
			}
		}
	}
	w.took(deleted, runs)
}

// inErase is the commit after which an erasure goes on in the next process.
const inErase = "crash in an erasure"

// leftOf is what is left of an erased client, of what was there before.
const leftOf = `SELECT 'outbox' FROM outbox WHERE client_id = ?1 AND seq <= ?2
	UNION ALL SELECT 'pending' FROM pending WHERE client_id = ?1 AND seq <= ?2
	UNION ALL SELECT 'results' FROM results WHERE seq NOT IN (SELECT seq FROM outbox)
	UNION ALL SELECT 'runs' FROM runs WHERE seq NOT IN (SELECT seq FROM outbox)
	UNION ALL SELECT 'accounts' FROM accounts WHERE client_id = ?1 AND NOT EXISTS (SELECT 1 FROM outbox WHERE client_id = ?1)
	UNION ALL SELECT 'effects' FROM effects WHERE client_id = ?1 AND n <= ?3
	UNION ALL SELECT 'audit' FROM audit WHERE client_id = ?1`

// leftScheduled is leftOf of what a Scheduler keeps.
const leftScheduled = `SELECT 'deliveries' FROM deliveries WHERE client_id = ?1 AND seq <= ?2`

// erase deletes a client, whose functions may be under way.
func (w *world) erase(client string, crash bool) {
	if synctest.Wait(); w.engine.isDead() {
		return
	}
	before, runs := w.kept(), w.ranAll()
	newest := w.rows(`SELECT (SELECT coalesce(max(seq), 0) FROM outbox), (SELECT coalesce(max(n), 0) FROM effects)`)[0]
	w.mu.Lock()
	delete(w.ops.accounts, client)
	w.mu.Unlock()
	if crash {
		w.engine.arm(inErase, 0)
	}
	_, err := w.engine.store.Erase(client, "model", "asked for")
	w.engine.disarm()
	if w.engine.isDead() {
		w.reopen()
		w.gone.resumed++
		synctest.Wait() // it goes on by itself
	} else if err != nil {
		w.wrong("erase %s: %v", client, err)
	}
	left := w.rows(leftOf, client, newest[0], newest[1])
	if _, ok := w.engine.store.(Scheduler); ok {
		left = append(left, w.rows(leftScheduled, client, newest[0])...)
	}
	for _, r := range left {
		w.wrong("%s was erased, and something is left in %s", client, r[0])
	}
	var erased []kept
	for _, k := range before {
		if k.client == client {
			erased = append(erased, k)
		}
	}
	w.took(erased, runs)
	w.gone.busy[client] = time.Now().Add(ignored)
	// Its effects went with it, and so did its name in the audit.
	w.gone.runs = slices.DeleteFunc(w.gone.runs, func(r ran) bool { return r.clientID == client })
	for id, h := range w.ops.heard {
		if h.act.ClientID == client || h.ClientID == client {
			h.act.ClientID, h.ClientID, h.act.Reason, h.act.Key = db.EraseMark(client), db.EraseMark(client), "", ""
			w.ops.heard[id] = h
		}
	}
}

// again sends e, which was sent before. Where it went out of the file since, it is a new
// event, behind all others.
func (w *world) again(e *sent) {
	if e.gone {
		e.gone, e.answered, e.unheard = false, false, false
		at := slices.Index(w.sent, e)
		w.sent = append(slices.Delete(w.sent, at, at+1), e)
	}
	w.append(e)
}
