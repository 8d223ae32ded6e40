package dbtest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"inturn/db"
)

// operatorsCases are the cases of operators: each Command is done once, in one transaction
// with its row of audit.
var operatorsCases = []testCase{
	{"pause and resume", func(s *suite) {
		e := s.open(Options{})
		changes := s.changes(e)
		s.accept(e, event("a", "1"))
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "a", Who: "olga", Reason: "why"})
		if c := <-changes; c.ClientID != "a" || !c.Paused {
			s.Errorf("%+v", c)
		}
		if r, err := e.Execute(s.Context(), db.Command{Verb: db.Pause, ClientID: "a"}); err != nil || r.Changed {
			s.Errorf("again: %+v, %v", r, err)
		}
		s.execute(e, db.Command{Verb: db.Pause, Type: "note", Who: "olga", Reason: "why"})
		if c := <-changes; c.ClientID != "" || c.Type != "note" || !c.Paused {
			s.Errorf("%+v", c)
		}
		s.execute(e, db.Command{Verb: db.Pause})
		<-changes
		types, err := e.Pauses(s.Context())
		if err != nil || len(types) != 2 || types[0].Type != "" || types[1].Type != "note" || types[1].Who != "olga" || types[1].Reason != "why" || types[1].Since.IsZero() {
			s.Errorf("%+v, %v", types, err)
		}
		s.accept(e, event("a", "2")) // events are taken as before
		for _, c := range []db.Command{{Verb: db.Resume}, {Verb: db.Resume, Type: "note"}, {Verb: db.Resume, ClientID: "a"}} {
			s.execute(e, c)
			if got := <-changes; got.ClientID != c.ClientID || got.Type != c.Type || got.Paused {
				s.Errorf("%+v", got)
			}
		}
		if types, err := e.Pauses(s.Context()); err != nil || len(types) != 0 {
			s.Errorf("%+v, %v", types, err)
		}
		_, err = e.Execute(s.Context(), db.Command{Verb: db.Resume, ClientID: "unknown"})
		s.wantError(err, db.ErrNotFound)
	}},
	{"an account is paused before its first event", func(s *suite) {
		e := s.open(Options{})
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "new"})
		account, err := e.Account(s.Context(), "new")
		if err != nil || !account.Paused || account.Pending != 0 {
			s.Errorf("%+v, %v", account, err)
		}
		s.accept(e, event("new", "1"))
		if account, err := e.Account(s.Context(), "new"); err != nil || !account.Paused || account.Pending != 1 {
			s.Errorf("after its first event: %+v, %v", account, err)
		}
		if stats := e.Stats(); stats.Pending != 1 || stats.Runnable != 0 {
			s.Errorf("%+v", stats)
		}
	}},
	{"an erased account has no pause left, also one without events", func(s *suite) {
		e := s.open(Options{})
		s.execute(e, db.Command{Verb: db.Pause, ClientID: "new"})
		if _, err := e.Erase("new", "", ""); err != nil {
			s.Fatal(err)
		}
		_, err := e.Account(s.Context(), "new")
		s.wantError(err, db.ErrNotFound)
		s.accept(e, event("new", "1"))
		if account, err := e.Account(s.Context(), "new"); err != nil || account.Paused {
			s.Errorf("%+v, %v", account, err)
		}
		if stats := e.Stats(); stats.Pending != 1 || stats.Runnable != 1 {
			s.Errorf("%+v", stats)
		}
	}},
	{"retry lets the head run afresh", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 2)
		if err := e.Hold(db.Hold{Event: evs[0], Attempts: 20, Park: true, Error: "x"}); err != nil {
			s.Fatal(err)
		}
		_, err := e.Execute(s.Context(), db.Command{Verb: db.Retry, ClientID: "a", Seq: evs[1].Seq})
		if moved, ok := errors.AsType[*db.HeadMovedError](err); !ok || moved.Seq != evs[0].Seq {
			s.Errorf("not the head: %v", err)
		}
		changes := s.changes(e)
		s.execute(e, db.Command{Verb: db.Retry, ClientID: "a", Seq: evs[0].Seq})
		if c := <-changes; c.ClientID != "a" || c.Parked || c.Attempts != 0 {
			s.Errorf("%+v", c)
		}
		if a, err := e.Account(s.Context(), "a"); err != nil || a.Parked || a.Attempts != 0 || a.HeadSeq != evs[0].Seq {
			s.Errorf("%+v, %v", a, err)
		}
		s.wantPending(e, "a", "1", "2")
	}},
	{"skip sets the head aside as dead", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 2)
		r := s.execute(e, db.Command{Verb: db.Skip, ClientID: "a", Seq: evs[0].Seq, Who: "olga", Reason: "spam"})
		if r.HeadSeq != evs[1].Seq {
			s.Errorf("%+v", r)
		}
		if ev := s.find(e, "a", "1"); ev.State != db.Dead || ev.Result.Error != "skipped by olga: spam" {
			s.Errorf("%+v", ev.Result)
		}
		s.wantPending(e, "a", "2")
		if n, err := e.Settle([]db.Settlement{doneWith(evs[0], note("a", "late"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
			s.Errorf("what of it ran: %d, %v", n, err)
		}
		if again, err := e.Execute(s.Context(), db.Command{Verb: db.Skip, ClientID: "a", Seq: evs[0].Seq}); err != nil || again.Changed {
			s.Errorf("again: %+v, %v", again, err)
		}
		s.wantNotes(e)
		s.closed(e)
	}},
	{"cancel sets a pending event aside wherever it stands", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 5)
		cancel := func(ev db.Event) db.Command {
			return db.Command{Verb: db.Cancel, ClientID: "a", Seq: ev.Seq, Who: "olga", Reason: "spam"}
		}
		if err := e.Hold(db.Hold{Event: evs[0], Attempts: 20, Park: true, Error: "x"}); err != nil {
			s.Fatal(err)
		}
		changes := s.changes(e)
		if r := s.execute(e, cancel(evs[2])); r.Seq != evs[2].Seq || r.Run != 1 || r.HeadSeq != evs[0].Seq {
			s.Errorf("%+v", r)
		}
		if c := <-changes; c.ClientID != "a" || !c.Reread || !c.Parked || c.Attempts != 20 { // what holds the head still does
			s.Errorf("%+v", c)
		}
		s.wantPending(e, "a", "1", "2", "4", "5")
		if ev := s.find(e, "a", "3"); ev.State != db.Dead || ev.Result.Error != "cancelled: spam" {
			s.Errorf("%+v", ev)
		}
		if again, err := e.Execute(s.Context(), cancel(evs[2])); err != nil || again.Changed || again.Run != 1 {
			s.Errorf("again: %+v, %v", again, err)
		}
		s.execute(e, cancel(evs[0]))
		if c := <-changes; !c.Reread || c.Parked || c.Attempts != 0 {
			s.Errorf("%+v", c)
		}
		e.SetRunning(func(clientID string, seq int64) bool { return clientID == "a" && seq == evs[1].Seq })
		_, err := e.Execute(s.Context(), cancel(evs[1]))
		s.wantError(err, db.ErrTooLate) // it runs
		s.settle(e, doneWith(evs[1], nil))
		_, err = e.Execute(s.Context(), cancel(evs[1]))
		s.wantError(err, db.ErrTooLate) // it is done
		e = s.reopened(e)
		s.execute(e, cancel(evs[3]))
		if n, err := e.Settle([]db.Settlement{doneWith(evs[3], note("a", "late"))}); n != 0 || !errors.Is(err, db.ErrSuperseded) {
			s.Errorf("what began meanwhile: %d, %v", n, err)
		}
		s.execute(e, db.Command{Verb: db.Redrive, Seq: evs[2].Seq})
		if r := s.execute(e, cancel(evs[2])); r.Run != 2 {
			s.Errorf("the second run: %+v", r)
		}
		s.wantPending(e, "a", "5")
		s.settle(e, deadOf(evs[4], "cancelled: by its function"))
		for c, want := range map[db.Command]error{
			cancel(evs[4]): db.ErrTooLate, {Verb: db.Cancel, ClientID: "b", Seq: evs[4].Seq}: db.ErrNotFound, {Verb: db.Cancel, ClientID: "a", Seq: 1 << 40}: db.ErrNotFound,
		} {
			_, err := e.Execute(s.Context(), c)
			s.wantError(err, want)
		}
		s.wantNotes(e)
		audit, err := e.Audit(s.Context(), db.AuditFilter{Verb: db.Cancel, Limit: 10})
		if err != nil || len(audit) != 5 || audit[4].Command != cancel(evs[2]) {
			s.Errorf("%+v, %v", audit, err)
		}
		s.closed(e)
	}},
	{"redrive runs a dead event again at the end of its account", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 3)
		s.settle(e, deadOf(evs[0], "no"), doneWith(evs[1], nil))
		for seq, want := range map[int64]error{evs[1].Seq: db.ErrNotDead, evs[2].Seq: db.ErrStillPending, 1 << 40: db.ErrNotFound} {
			_, err := e.Execute(s.Context(), db.Command{Verb: db.Redrive, Seq: seq})
			s.wantError(err, want)
		}
		s.accept(e, event("b", "1"))
		_, err := e.Execute(s.Context(), db.Command{Verb: db.Redrive, ClientID: "b", Seq: evs[0].Seq})
		s.wantError(err, db.ErrNotFound) // it is another account's
		dead, err := e.Dead(s.Context(), db.DeadFilter{Limit: 10})
		if err != nil || len(dead) != 1 || dead[0].Seq != evs[0].Seq {
			s.Errorf("%+v, %v", dead, err)
		}
		if r := s.execute(e, db.Command{Verb: db.Redrive, Seq: evs[0].Seq, Run: 1}); r.Run != 2 || r.ClientID != "a" {
			s.Errorf("%+v", r)
		}
		if r, err := e.Execute(s.Context(), db.Command{Verb: db.Redrive, Seq: evs[0].Seq, Run: 1}); err != nil || r.Changed || r.Run != 2 {
			s.Errorf("again: %+v, %v", r, err)
		}
		s.wantPending(e, "a", "3", "1")
		s.settle(e, doneWith(evs[2], nil))
		again := s.head(e, "a")
		if again.Seq != evs[0].Seq || again.Run != 2 || again.Position <= evs[2].Position {
			s.Errorf("%+v", again)
		}
		s.settle(e, doneWith(again, note("a", "second")))
		runs, err := e.Runs(s.Context(), evs[0].Seq, 0, 10)
		if err != nil || len(runs) != 1 || runs[0].Run != 1 || runs[0].Status != db.Dead || runs[0].Error != "no" {
			s.Errorf("%+v, %v", runs, err)
		}
		if rest, err := e.Runs(s.Context(), evs[0].Seq, 1, 10); err != nil || len(rest) > 0 {
			s.Errorf("behind the last run: %+v, %v", rest, err)
		}
		if r := s.find(e, "a", "1").Result; r.Run != 2 || r.Status != db.Done {
			s.Errorf("%+v", r)
		}
		s.closed(e)
	}},
	{"replay runs what is finished again, before what is pending", func(s *suite) {
		e := s.open(Options{})
		evs := s.acceptAll(e, "a", 5)
		s.settle(e, doneWith(evs[0], nil), doneWith(evs[1], nil), deadOf(evs[2], "no"))
		_, err := e.Execute(s.Context(), db.Command{Verb: db.Replay, ClientID: "a", Seq: evs[3].Seq})
		s.wantError(err, db.ErrNothingToReplay)
		if r := s.execute(e, db.Command{Verb: db.Replay, ClientID: "a", Seq: evs[1].Seq}); r.Events != 2 || r.Seq != evs[1].Seq || r.To != evs[2].Seq {
			s.Errorf("%+v", r)
		}
		_, err = e.Execute(s.Context(), db.Command{Verb: db.Replay, ClientID: "a"})
		s.wantError(err, db.ErrReplaying)
		if more, err := e.ExpandReplay("a"); more || err != nil {
			s.Errorf("more %t, %v", more, err)
		}
		s.wantPending(e, "a", "2", "3", "4", "5")
		for range 2 {
			ev := s.head(e, "a")
			if ev.Run != 2 || ev.Position >= 0 {
				s.Errorf("%+v", ev)
			}
			s.settle(e, doneWith(ev, nil))
		}
		if r := s.find(e, "a", "3").Result; r.Run != 2 || r.Status != db.Done {
			s.Errorf("%+v", r)
		}
		s.wantPending(e, "a", "4", "5")
		s.closed(e)
	}},
	{"a key makes a Command once", func(s *suite) {
		e := s.open(Options{})
		ev := s.accept(e, event("a", "1"))
		c := db.Command{Verb: db.Skip, ClientID: "a", Seq: ev.Seq, Who: "olga", Key: "k"}
		first := s.execute(e, c)
		for _, e := range []Engine{e, s.reopened(e)} {
			again, err := e.Execute(s.Context(), c)
			if want := first; err != nil || !again.Again {
				s.Errorf("%+v, %v", again, err)
			} else if want.Again = true; again != want {
				s.Errorf("%+v, want %+v", again, want)
			}
			other := c
			other.Verb = db.Retry
			_, err = e.Execute(s.Context(), other)
			s.wantError(err, db.ErrKeyReused)
		}
	}},
	{"a Command that makes no sense does nothing", func(s *suite) {
		e := s.open(Options{})
		s.accept(e, event("a", "1"))
		for _, c := range []db.Command{{}, {Verb: "other"}, {Verb: db.Retry, ClientID: "a"}, {Verb: db.Pause, ClientID: "a", Type: "note"}, {Verb: db.Replay}, {Verb: db.Pause, Seq: 1}} {
			_, err := e.Execute(s.Context(), c)
			s.wantError(err, db.ErrBadCommand)
		}
		_, err := e.ExecuteAll(s.Context(), db.BulkCommand{Verb: db.Pause})
		s.wantError(err, db.ErrBadCommand)
		if audit, err := e.Audit(s.Context(), db.AuditFilter{Limit: 10}); err != nil || len(audit) != 0 {
			s.Errorf("%+v, %v", audit, err)
		}
	}},
	{"a bulk command does many, each with its row of audit", func(s *suite) {
		e := s.open(Options{})
		for i := range 7 {
			client := fmt.Sprint("c", i)
			evs := s.acceptAll(e, client, 2)
			if i < 4 {
				s.settle(e, deadOf(evs[0], "no"))
			}
		}
		b := db.BulkCommand{Verb: db.Redrive, Type: "note", Who: "olga", Key: "all"}
		dry := b
		dry.DryRun = true
		if r, err := e.ExecuteAll(s.Context(), dry); err != nil || r.Count != 4 || r.ID != 0 {
			s.Errorf("dry: %+v, %v", r, err)
		}
		first, err := e.ExecuteAll(s.Context(), b)
		if err != nil || first.Count != 4 || first.ID == 0 || first.Again {
			s.Errorf("%+v, %v", first, err)
		}
		if again, err := e.ExecuteAll(s.Context(), b); err != nil || again.Count != 4 || again.ID != first.ID || !again.Again {
			s.Errorf("again: %+v, %v", again, err)
		}
		s.wantPending(e, "c0", "2", "1")
		audit, err := e.Audit(s.Context(), db.AuditFilter{Verb: db.Redrive, Limit: 10})
		if err != nil || len(audit) != 5 || slices.ContainsFunc(audit, func(a db.AuditEntry) bool { return a.Bulk != first.ID }) {
			s.Errorf("%+v, %v", audit, err)
		}
		if page, err := e.Audit(s.Context(), db.AuditFilter{ClientID: "c1", Before: 1 << 40, Limit: 1}); err != nil || len(page) != 1 || page[0].At.After(time.Now()) {
			s.Errorf("%+v, %v", page, err)
		}
	}},
}
