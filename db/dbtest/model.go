package dbtest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"inturn/db"
)

// The model: whatever is sent, however functions end, and wherever the process
// ends, the database holds what a small model of promises 2 to 7 says. The plan of a run
// is drawn first and then run in a bubble of testing/synctest, whose time costs none.

// model runs plans: as many as -rapid.checks says, else 20, 40 in CI and 300 with
// INTURN_LONG.
func model(t *testing.T, empty New) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() == f.DefValue {
		_ = f.Value.Set(modelChecks())
		t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
	}
	_, durable := empty(t, t.TempDir()).(Durable)
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt, durable)
		dir, err := os.MkdirTemp("", "inturn-model-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := newWorld(p, empty(t, dir))
		synctest.Test(t, func(*testing.T) { w.run() })
		for _, v := range w.violations {
			rt.Error(v)
		}
	})
}

func modelChecks() string {
	switch {
	case os.Getenv("INTURN_LONG") != "":
		return "300"
	case raceDetector:
		return "8"
	case os.Getenv("CI") != "":
		return "40"
	}
	return "20"
}

// sent is the model's view of one event that a client sends.
type sent struct {
	send
	id       string
	payload  []byte
	at       time.Time // its DeliverAt
	seq      int64     // once it was answered
	answered bool
	unheard  bool // it was sent, and may be there
	gone     bool // answered, and not in the file any more
}

// world runs a plan and knows what must come of it.
type world struct {
	plan  plan
	empty Database // where it begins

	mu         sync.Mutex
	engine     *engine
	crashes    int
	sent       []*sent
	worked     map[string]bool // by client/message: a function was called for it
	ops        operators
	gone       gone
	violations []string
}

func newWorld(p plan, d Database) *world {
	return &world{plan: p, empty: d, worked: map[string]bool{}, ops: operators{heard: map[int64]said{}},
		gone: gone{keys: map[string]bool{}, emitted: map[string]time.Time{}, busy: map[string]time.Time{}}}
}

// wrong notes a violation of the model.
func (w *world) wrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

func (w *world) run() {
	w.open(w.empty)
	for _, s := range w.plan.steps {
		w.do(s)
		w.recoverIfCrashed()
	}
	w.engine.disarm()
	w.resumeAll()
	// At most longer than all waits of all runs of all events; nothing waits for another
	// account. Not a wait of that length: the file's lock beats each second.
	for range len(w.sent) * 2 * (1 + w.ops.n) {
		if time.Sleep(10 * time.Minute); !w.engine.runner.Busy() {
			break
		}
	}
	synctest.Wait()
	w.judge()
	w.engine.close()
	violations, err := w.engine.db.Check(context.Background())
	if err != nil {
		w.wrong("check: %v", err)
	}
	for _, v := range violations {
		w.wrong("check: %s: %s", v.Kind, v.Detail)
	}
}

func (w *world) do(s step) {
	switch s.do {
	case "send":
		w.sendAll(s.sends)
	case "repeat":
		if len(w.sent) > 0 {
			w.again(w.sent[s.which%len(w.sent)])
		}
	case "conflict":
		if len(w.sent) > 0 {
			w.conflict(w.sent[s.which%len(w.sent)])
		}
	case "operate":
		w.operate(s.acts)
	case "retain":
		w.retain(s.pause)
	case "erase":
		w.erase(clients[s.which], s.crash)
	case "sleep":
		time.Sleep(s.pause)
		synctest.Wait()
		if !w.engine.isDead() {
			w.nobodyIsHeldUp()
		}
	case "restart":
		w.engine.close()
		time.Sleep(s.pause)
		w.open(w.engine.db)
	case "crash now":
		synctest.Wait() // nobody writes: the files are as a kill would leave them
		w.engine.crash()
	default:
		w.engine.arm(s.do, s.which)
	}
}

// sendAll lets each client send its share in order, all clients at once.
func (w *world) sendAll(list []send) {
	byClient := map[string][]*sent{}
	for _, s := range list {
		if s.script.Later > 0 && w.engine.schedules() {
			s.script.Due = time.Now().Add(time.Duration(s.script.Later) * time.Second).UnixMicro()
		}
		payload, err := json.Marshal(s.script)
		if err != nil {
			panic(err)
		}
		e := &sent{send: s, id: fmt.Sprint(len(w.sent)), payload: payload}
		if s.ahead != 0 && w.engine.schedules() {
			e.at = time.Now().Add(s.ahead).UTC().Truncate(time.Microsecond)
		}
		w.sent = append(w.sent, e)
		byClient[s.client] = append(byClient[s.client], e)
	}
	var wg sync.WaitGroup
	for _, evs := range byClient {
		wg.Go(func() {
			for _, e := range evs {
				if !w.append(e) {
					return // the client will come back with it, and then with the others
				}
			}
		})
	}
	wg.Wait()
}

// append sends e, again if it was sent before, and holds the answer against the
// model. It reports whether an answer came.
func (w *world) append(e *sent) bool {
	g := w.engine
	r, err := g.store.Append(context.Background(), db.Event{ClientID: e.client, MessageID: e.id, Type: e.typ, Payload: e.payload, DeliverAt: e.at})
	if g.isDead() {
		e.unheard = true
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	bad := func(what string, want any) {
		w.violations = append(w.violations, fmt.Sprintf("sending %s %s: %s, receipt %+v (%v), want %v", e.client, e.id, what, r, err, want))
	}
	switch {
	case err != nil:
		bad("refused", "no error")
	case e.answered && (r.Seq != e.seq || !r.Duplicate):
		bad("the repeat's answer is another", e.seq)
	case !e.answered && r.Duplicate && !e.unheard:
		bad("a new event is called a duplicate", false)
	case (r.State == db.Done || r.State == db.Dead) != (r.Result != nil):
		bad("state and result differ", "")
	}
	e.seq, e.answered, e.unheard = r.Seq, true, false
	return true
}

// conflict sends e's identity with another payload.
func (w *world) conflict(e *sent) {
	if e.gone {
		return // it would be a new event
	}
	g := w.engine
	other := e.script
	other.Pad += "other"
	payload, _ := json.Marshal(other)
	_, err := g.store.Append(context.Background(), db.Event{ClientID: e.client, MessageID: e.id, Type: e.typ, Payload: payload, DeliverAt: e.at})
	if g.isDead() || !e.answered {
		return
	}
	if reused, ok := errors.AsType[*db.IDReusedError](err); !ok || reused.Seq != e.seq {
		w.wrong("%s %s again with another payload: %v, want an IDReusedError of seq %d", e.client, e.id, err, e.seq)
	}
}

// recoverIfCrashed opens what the crash left, and the clients send again what was
// not answered, in order.
func (w *world) recoverIfCrashed() {
	for w.engine.isDead() {
		w.reopen()
		for _, e := range w.sent {
			if e.answered {
				continue
			}
			if !w.append(e) {
				break
			}
		}
	}
}

func (w *world) reopen() {
	w.crashes++
	w.engine.close()
	w.open(w.engine.left)
}

// nobodyIsHeldUp: while others fail, wait or are parked, an account that has no
// trouble and takes no time has nothing pending (promises 5 and 7).
func (w *world) nobodyIsHeldUp() {
	for _, c := range clients {
		quick := !time.Now().Before(w.gone.busy[c]) // or its account waits for that one's end
		evs := w.events(c)
		for _, ev := range evs {
			s := scriptOf(ev)
			quick = quick && s.Takes == 0 && len(s.Fails) == 0 && s.Fate != parks && ev.Type != "slots" && !w.ops.held(c, ev.Type)
		}
		if !quick || w.crashes > 0 { // after a crash a recorded attempt may wait
			continue
		}
		for _, ev := range evs {
			if ev.State == db.Pending {
				w.wrong("%s %s waits although nothing holds its account", c, ev.MessageID)
			}
		}
	}
}

func (w *world) events(client string) []db.StoredEvent {
	evs, err := w.engine.store.Events(context.Background(), db.Filter{ClientID: client, Limit: 1000})
	if err != nil {
		w.wrong("list events: %v", err)
	}
	return evs
}
