package dbtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"

	"pgregory.net/rapid"

	"inturn/db"
)

// order is what one operator does: a verb, and what it is meant for.
type order struct {
	verb   db.Verb
	client string // "" for Pause and Resume of a type or of everything
	typ    string
	which  int  // the event, modulo those of the account; of Retry and Skip every third is not the head, of Cancel every third may be finished
	span   int  // of a Replay, how many events at most; 0: to the newest
	keyed  bool // with a key, and sent twice
}

var orders = rapid.Custom(func(t *rapid.T) order {
	o := order{
		verb:   rapid.SampledFrom([]db.Verb{db.Pause, db.Resume, db.Retry, db.Retry, db.Skip, db.Skip, db.Redrive, db.Redrive, db.Replay, db.Replay, db.Cancel, db.Cancel, db.Cancel}).Draw(t, "verb"),
		client: rapid.SampledFrom(clients).Draw(t, "of"),
		which:  rapid.IntRange(0, 1000).Draw(t, "event"),
		span:   rapid.IntRange(0, 3).Draw(t, "span"),
		keyed:  rapid.Bool().Draw(t, "keyed"),
	}
	if o.verb == db.Pause || o.verb == db.Resume {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			o.client = ""
		case 1, 2:
			o.client, o.typ = "", rapid.SampledFrom([]string{"plain", "slots", "ahead"}).Draw(t, "type")
		}
	}
	return o
})

// operators is what the model knows of acts.
type operators struct {
	n        int // of keys
	heard    map[int64]said
	accounts map[string]bool // paused, and somebody was told so
	types    map[string]bool // "" is everything
}

type said struct {
	act db.Command
	db.CommandResult
}

// held reports whether nothing of this may begin. w.mu is held.
func (p *operators) held(client, typ string) bool {
	return p.accounts[client] || p.types[typ] || p.types[""]
}

// operate lets all operators act at once.
func (w *world) operate(list []order) {
	w.mu.Lock()
	for _, o := range list {
		if o.verb != db.Resume {
			continue
		}
		if o.client != "" { // from now on it may run, whether an answer comes or not
			delete(w.ops.accounts, o.client)
		} else {
			delete(w.ops.types, o.typ)
		}
	}
	w.mu.Unlock()
	var wg sync.WaitGroup
	for _, o := range list {
		wg.Go(func() { w.act(o) })
	}
	wg.Wait()
	synctest.Wait() // what had begun is under way
	g := w.engine
	paused, err := g.store.Accounts(context.Background(), db.AccountFilter{Paused: true, Limit: 100})
	types, terr := g.store.Pauses(context.Background())
	if g.isDead() {
		return // what was not heard is not known
	}
	if err := errors.Join(err, terr); err != nil {
		w.wrong("list pauses: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops.accounts, w.ops.types = map[string]bool{}, map[string]bool{}
	for _, a := range paused {
		w.ops.accounts[a.ClientID] = true
	}
	for _, p := range types {
		w.ops.types[p.Type] = true
	}
}

// act does what o means for what is there, and judges the answer.
func (w *world) act(o order) {
	g := w.engine
	a := db.Command{Verb: o.verb, ClientID: o.client, Type: o.typ, Who: "model", Reason: fmt.Sprint("because ", o.which)}
	var evs []db.StoredEvent
	if o.client != "" {
		if a.ClientID, evs = w.target(o); evs == nil {
			return
		}
	}
	switch o.verb {
	case db.Retry, db.Skip:
		account, err := g.store.Account(context.Background(), a.ClientID)
		if err != nil {
			w.wrong("account %s: %v", a.ClientID, err)
			return
		}
		if a.Seq = account.HeadSeq; o.which%3 == 0 || a.Seq == 0 {
			a.Seq = evs[o.which%len(evs)].Seq
		}
	case db.Cancel:
		a.Seq = evs[o.which%len(evs)].Seq
		if left := slices.DeleteFunc(slices.Clone(evs), func(ev db.StoredEvent) bool { return ev.Result != nil }); len(left) > 0 && o.which%3 > 0 {
			a.Seq = left[o.which%len(left)].Seq
		}
	case db.Redrive:
		dead, err := g.store.Dead(context.Background(), db.DeadFilter{ClientID: a.ClientID, Limit: 100})
		if err != nil {
			w.wrong("dead of %s: %v", a.ClientID, err)
			return
		}
		ev := evs[o.which%len(evs)]
		if len(dead) > 0 {
			ev = dead[o.which%len(dead)]
		}
		if a.Seq = ev.Seq; ev.Result != nil {
			a.Run = ev.Result.Run
		}
	case db.Replay:
		first := o.which % len(evs)
		a.Seq = evs[first].Seq
		if o.span > 0 {
			a.To = evs[min(first+o.span-1, len(evs)-1)].Seq
		}
	}
	w.mu.Lock()
	w.ops.n++
	if o.keyed {
		a.Key = fmt.Sprint("key ", w.ops.n)
	}
	w.mu.Unlock()
	got, err := g.store.Execute(context.Background(), a)
	if g.isDead() {
		return // nobody heard it
	}
	if err != nil {
		w.refused(a, err)
		return
	}
	if a.Key != "" {
		again, err := g.store.Execute(context.Background(), a)
		if want := got; !g.isDead() {
			if want.Again = true; err != nil || again != want {
				w.wrong("%+v again: %+v, %v; first %+v", a, again, err, got)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops.heard[got.ID] = said{a, got}
}

// target finds an account for which the verb makes sense, beginning with the one that
// was drawn; or else any that has events.
func (w *world) target(o order) (client string, evs []db.StoredEvent) {
	if o.verb == db.Pause || o.verb == db.Resume { // which accounts are paused is known by what was drawn
		return o.client, w.events(o.client)
	}
	fits := map[db.Verb]db.State{db.Retry: db.Pending, db.Skip: db.Pending, db.Cancel: db.Pending, db.Redrive: db.Dead, db.Replay: db.Done}[o.verb]
	first := slices.Index(clients, o.client)
	for i := range clients {
		c := clients[(first+i)%len(clients)]
		list := w.events(c)
		if evs == nil && len(list) > 0 {
			client, evs = c, list
		}
		if slices.ContainsFunc(list, func(ev db.StoredEvent) bool { return ev.State == fits }) {
			return c, list
		}
	}
	return client, evs
}

// refused fails the run if err is none of the errors that the verb may have.
func (w *world) refused(a db.Command, err error) {
	allowed := map[db.Verb][]error{
		db.Redrive: {db.ErrNotDead, db.ErrStillPending}, db.Replay: {db.ErrNothingToReplay, db.ErrReplaying}, db.Cancel: {db.ErrTooLate},
	}
	if moved, ok := errors.AsType[*db.HeadMovedError](err); ok && (a.Verb == db.Retry || a.Verb == db.Skip) && moved.Seq != a.Seq {
		return
	}
	for _, is := range allowed[a.Verb] {
		if errors.Is(err, is) {
			return
		}
	}
	w.wrong("%+v is refused: %v", a, err)
}

// resumeAll ends every pause, so that everything can come to its end.
func (w *world) resumeAll() {
	acts := []db.Command{{Verb: db.Resume}}
	for _, typ := range []string{"plain", "slots", "ahead"} {
		acts = append(acts, db.Command{Verb: db.Resume, Type: typ})
	}
	for _, c := range clients {
		acts = append(acts, db.Command{Verb: db.Resume, ClientID: c})
	}
	w.mu.Lock()
	w.ops.accounts, w.ops.types = nil, nil
	w.mu.Unlock()
	for _, a := range acts {
		if _, err := w.engine.store.Execute(context.Background(), a); err != nil && !errors.Is(err, db.ErrNotFound) {
			w.wrong("%+v: %v", a, err)
		}
	}
}

// ran is one settled run of an event.
type ran struct {
	key                      string // client/message
	seq, run, turn, settled  int64
	status, reason, clientID string
	attempts                 int64
}

// ranAll reads every settled run, in the order of settles.
func (w *world) ranAll() (list []ran) {
	rows, err := w.engine.store.Query(context.Background(), `SELECT o.client_id, o.message_id, r.seq, r.run, r.turn, r.settled, r.status,
			coalesce(r.error, ''), r.attempts
		FROM (SELECT seq, run, turn, settled, status, error, attempts FROM results
			UNION ALL SELECT seq, run, turn, settled, status, error, attempts FROM runs) r JOIN outbox o ON o.seq = r.seq
		WHERE o.type <> 'audit' ORDER BY r.settled`)
	if err != nil {
		w.wrong("read runs: %v", err)
	}
	for _, r := range rows {
		list = append(list, ran{
			clientID: r[0].(string), key: r[0].(string) + "/" + r[1].(string), seq: r[2].(int64), run: r[3].(int64), turn: r[4].(int64),
			settled: r[5].(int64), status: r[6].(string), reason: r[7].(string), attempts: r[8].(int64),
		})
	}
	return list
}

// aside is an event and the verb by which an operator set a run of it aside.
type aside struct {
	verb db.Verb
	seq  int64
}

// setAside returns the verb by which a run with this error was set aside, "" for none.
func setAside(reason string) db.Verb {
	switch {
	case strings.HasPrefix(reason, "skipped"):
		return db.Skip
	case strings.HasPrefix(reason, "cancelled"):
		return db.Cancel
	}
	return ""
}

// judgeRuns: in turn, also those that an operator asked for, but not what was cancelled;
// each run's effect once, with its result; set aside only what somebody set aside.
func (w *world) judgeRuns(list []ran, effects []string, asides map[aside]int) {
	last := map[string]ran{}
	var want []string
	for _, r := range list {
		verb := setAside(r.reason)
		if verb != db.Cancel {
			order := fmt.Sprint(r.clientID, r.turn < 0)
			if before, ok := last[order]; ok && r.turn <= before.turn {
				w.wrong("%s (turn %d) was settled after %s (turn %d)", r.key, r.turn, before.key, before.turn)
			}
			last[order] = r
		}
		if r.status == string(db.Done) {
			want = append(want, fmt.Sprint(r.key, " run ", r.run))
		}
		if by := (aside{verb, r.seq}); verb != "" {
			if asides[by]--; asides[by] < 0 {
				w.wrong("%s is dead by %s, and nobody did that", r.key, verb)
			}
		}
	}
	byClient := func(list []string) []string {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(a[:1], b[:1]) })
		return list
	}
	if got := byClient(effects); !slices.Equal(got, byClient(want)) {
		w.wrong("effects: %v\nwant each once and in order: %v", got, byClient(want))
	}
}

// judgeAudit: what somebody was told stands in the audit, and nothing else. It returns
// how often each event was set aside.
func (w *world) judgeAudit() map[aside]int {
	rows, err := w.engine.store.Audit(context.Background(), db.AuditFilter{Limit: 1000})
	if err != nil {
		w.wrong("read audit: %v", err)
	}
	asides := map[aside]int{}
	byID := map[int64]db.AuditEntry{}
	for _, a := range rows {
		byID[a.ID] = a
		if strings.Contains(string(a.Answer), `"changed":true`) {
			asides[aside{a.Command.Verb, a.Command.Seq}]++
		}
	}
	for id, h := range w.ops.heard {
		got := byID[id].Command
		want := h.act
		if want.Verb == db.Redrive {
			want.ClientID = h.ClientID
		}
		if got != want || byID[id].At != h.At {
			w.wrong("the audit has %+v for %+v, which was answered %+v", byID[id], want, h.CommandResult)
		}
		if h.Changed && asides[aside{h.act.Verb, h.act.Seq}] == 0 {
			w.wrong("%+v is not in the audit", h)
		}
	}
	return asides
}
