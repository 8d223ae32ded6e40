package dbtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"inturn/db"
)

// inTurn lists a client's events, of which none is scheduled: those that are pending come
// last, in turn.
func (w *world) inTurn(client string) (evs []db.StoredEvent) {
	pending := map[int64]db.StoredEvent{}
	for _, ev := range w.events(client) {
		if ev.State == db.Scheduled {
			w.wrong("%s %s was due at %v, and is scheduled still", client, ev.MessageID, ev.DeliverAt)
		}
		if ev.State == db.Pending {
			pending[ev.Seq] = ev
		} else {
			evs = append(evs, ev)
		}
	}
	rows, err := w.engine.store.Query(context.Background(), `SELECT seq FROM pending WHERE client_id = ? ORDER BY turn`, client)
	if err != nil || len(rows) != len(pending) {
		w.wrong("%s has %d events pending and %d rows of them, %v", client, len(pending), len(rows), err)
	}
	for _, r := range rows {
		evs = append(evs, pending[r[0].(int64)])
	}
	return evs
}

func scriptOf(ev db.StoredEvent) (s script) {
	_ = json.Unmarshal(ev.Payload, &s)
	return s
}

// due is when what it emits is due, the zero Time for at once.
func (s script) due() time.Time {
	if s.Due == 0 {
		return time.Time{}
	}
	return time.UnixMicro(s.Due).UTC()
}

// judge compares the file with the model once everything has come to its end.
func (w *world) judge() {
	effects := w.effects()
	runs := slices.Concat(w.gone.runs, w.ranAll())
	slices.SortFunc(runs, func(a, b ran) int { return cmp.Compare(a.settled, b.settled) })
	w.judgeRuns(runs, effects, w.judgeAudit())
	settled := map[string]string{} // the state of every run that was settled, by client/message
	for _, r := range runs {
		settled[r.key] += r.status + " "
	}
	found := map[string]db.StoredEvent{}
	emitted := w.gone.emitted
	for _, c := range clients {
		blocked := false
		for _, ev := range w.inTurn(c) {
			key := c + "/" + ev.MessageID
			found[key] = ev
			s := scriptOf(ev)
			if strings.Contains(settled[key], "done") && s.Emits != "" {
				emitted[s.Emits+"/of "+key] = s.due()
			}
			switch aside := ev.State == db.Dead && setAside(ev.Result.Error) != ""; {
			case ev.State == db.Pending:
				if !blocked && s.Fate != parks {
					w.wrong("%s waits, and nothing holds it", key)
				}
				blocked = true
			case aside:
			case s.Fate == parks, string(ev.State) != string(s.Fate):
				w.wrong("%s is %s, want %s", key, ev.State, s.Fate)
			default:
				least := len(s.Fails) + 1
				if n := ev.Result.Attempts; n < least || n > least+w.crashes+w.gone.resumed {
					w.wrong("%s was settled by attempt %d, want %d (and at most %d for crashes)", key, n, least, w.crashes+w.gone.resumed)
				}
			}
		}
		if account, err := w.engine.store.Account(context.Background(), c); err == nil && account.Parked != blocked {
			w.wrong("%s is parked: %t, want %t", c, account.Parked, blocked)
		}
	}
	for key := range w.worked {
		if _, ok := found[key]; !ok && !w.gone.keys[key] {
			w.wrong("a function was called for %s, which is not there", key)
		}
	}
	last := map[string]int64{}
	for _, e := range w.sent {
		key := e.client + "/" + e.id
		ev, ok := found[key]
		switch {
		case !e.answered:
			w.wrong("%s was never answered", key)
		case e.gone && ok:
			w.wrong("%s is there again, and nobody sent it", key)
		case e.gone:
			continue
		case !ok:
			w.wrong("%s was answered and is lost", key)
		case ev.Seq != e.seq || string(ev.Payload) != string(e.payload) || ev.Type != e.typ || !ev.DeliverAt.Equal(e.at):
			w.wrong("%s is another than the one that was answered (seq %d, want %d)", key, ev.Seq, e.seq)
		case e.seq <= last[e.client]:
			w.wrong("%s overtook the one that was sent before it", key)
		}
		last[e.client] = e.seq
		delete(found, key)
	}
	for key, ev := range found {
		switch due, ok := emitted[key]; {
		case !ok:
			w.wrong("%s is there, and nobody sent it", key)
		case !ev.DeliverAt.Equal(due):
			w.wrong("%s is due at %v, and was emitted for %v", key, ev.DeliverAt, due)
		}
		delete(emitted, key)
	}
	for key := range emitted {
		if w.gone.keys[key] {
			continue
		}
		w.wrong("%s was emitted and is lost", key)
	}
}

// effects reads the effect table through an event of its own, which works in memory
// too.
func (w *world) effects() (keys []string) {
	ev := db.Event{ClientID: "auditor", MessageID: fmt.Sprint(rand.Int64()), Type: "audit", Payload: []byte("{}")}
	r, err := w.engine.store.Append(context.Background(), ev)
	if err != nil {
		w.wrong("audit: %v", err)
		return nil
	}
	if _, err := w.engine.store.Wait(context.Background(), r.Seq, nil); err != nil {
		w.wrong("audit: %v", err)
		return nil
	}
	s, err := w.engine.store.Find(context.Background(), ev.ClientID, ev.MessageID)
	if err != nil || json.Unmarshal(s.Result.Output, &keys) != nil {
		w.wrong("audit: %v", err)
	}
	return keys
}
