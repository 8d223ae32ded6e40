package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"testing"

	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// TestQueries gives every parameter and every column of the generated code a value
// of its own, so that none can take another's place. (sqlc has mixed them up before:
// that is why parameters have names.)
func TestQueries(t *testing.T) {
	ctx := context.Background()
	pool, err := sql.Open("sqlite", conn.MemoryDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	if _, err := pool.Exec(schema); err != nil {
		t.Fatal(err)
	}
	x, err := q.Prepare(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	one := func(n int64, err error) {
		t.Helper()
		if err != nil || n != 1 {
			t.Fatalf("%d rows, %v", n, err)
		}
	}
	want := func(query, want string) {
		t.Helper()
		if got, err := lines(pool, query); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", query, got, err, want)
		}
	}
	same := func(got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}

	ok(x.CreateOwner(ctx, q.CreateOwnerParams{Epoch: 11, Name: "n1", Since: 12}))
	want("SELECT * FROM owner", "[1 11 n1 12 0 1 1 0 0 0 0]")
	ok(x.TakeOwnership(ctx, q.TakeOwnershipParams{Epoch: 13, Name: "n2", Since: 14}))
	ok(x.SaveCounters(ctx, q.SaveCountersParams{NextSeq: 15, NextSettled: 16, Pending: 18}))
	ok(x.SaveFlushed(ctx, 17))
	ok(x.SaveBase(ctx, 19))
	ok(x.SaveBase(ctx, 20))
	want("SELECT * FROM owner", "[1 13 n2 14 0 15 16 17 18 20 19]")
	ok(x.LeaveOwnership(ctx))
	owner, err := x.ReadOwner(ctx)
	same(owner, err, q.ReadOwnerRow{Epoch: 13, Name: "n2", Since: 14, Clean: 1, NextSeq: 15, NextSettled: 16})
	flushed, err := x.Flushed(ctx)
	same(flushed, err, q.FlushedRow{Flushed: 17, Pending: 18})
	epoch, err := x.Epoch(ctx)
	same(epoch, err, int64(13))

	one(x.InsertOutbox(ctx, q.InsertOutboxParams{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a")}))
	want("SELECT * FROM outbox", "[21 c m t p 22 r a]")
	if n, err := x.InsertOutbox(ctx, q.InsertOutboxParams{Seq: 99, ClientID: "c", MessageID: "m"}); n != 0 || err != nil {
		t.Errorf("a repeat: %d, %v", n, err)
	}
	unflushed, err := x.ReadUnflushed(ctx, q.ReadUnflushedParams{Flushed: 20, Page: 1})
	same(unflushed, err, []q.ReadUnflushedRow{{Seq: 21, ClientID: "c"}})
	ok(x.InsertHistory(ctx, q.InsertHistoryParams{ClientID: "c", Seq: 21}))
	ok(x.InsertHistory(ctx, q.InsertHistoryParams{ClientID: "c", Seq: 21}))
	want("SELECT * FROM history", "[c 21]")
	identity, err := x.Identity(ctx, q.IdentityParams{ClientID: "c", MessageID: "m"})
	same(identity, err, q.IdentityRow{Seq: 21, Type: "t", Payload: "p"})

	at, err := x.AcceptedAt(ctx, 20)
	same(at, err, int64(22))
	ok(x.InsertPending(ctx, q.InsertPendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	want("SELECT * FROM lanes", "[c 31 32 33]")
	want("SELECT * FROM unflushed", "[c 21 21 1]")
	want("SELECT * FROM pending ORDER BY turn", "[c 21 21 1 c 31 32 33]")
	pending, err := x.IsPending(ctx, q.IsPendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33})
	same(pending, err, int64(1))
	backlogs, err := x.Backlogs(ctx)
	same(backlogs, err, []q.BacklogsRow{{ClientID: "c", Events: 1, HeadTurn: 31}})
	ok(x.InsertAccount(ctx, "c"))
	ok(x.PauseAccount(ctx, q.PauseAccountParams{Paused: 1, ClientID: "c"}))
	ok(x.SetReplay(ctx, q.SetReplayParams{ReplayNext: number(44), ReplayTo: number(45), ReplaySettled: number(46), ClientID: "c"}))
	hold, err := x.HoldAccount(ctx, q.HoldAccountParams{HeadSeq: number(41), Attempts: 42, NextAt: number(43), Parked: 1, LastError: text("e"), ClientID: "c"})
	same(hold, err, q.HoldAccountRow{Paused: 1, ReplayNext: number(44)})
	row := q.ReadAccountRow{ClientID: "c", Parked: 1, HeadSeq: number(41), Attempts: 42, NextAt: number(43), LastError: text("e"),
		Paused: 1, ReplayNext: number(44), ReplayTo: number(45), Pending: 2, FirstSeq: 21}
	account, err := x.ReadAccount(ctx, "c")
	same(account, err, row)
	standing, err := x.Standing(ctx, "c")
	same(standing, err, q.StandingRow{Parked: 1, Paused: 1, HeadSeq: number(41), Attempts: 42, NextAt: number(43), ReplayNext: number(44)})
	ranges, err := x.ReplayRange(ctx, "c")
	same(ranges, err, q.ReplayRangeRow{ReplayNext: number(44), ReplayTo: number(45), ReplaySettled: number(46)})
	first, err := x.Head(ctx, "c")
	same(first, err, q.HeadRow{Turn: 31, Seq: 32, Run: 33})
	turn, err := x.TurnOf(ctx, q.TurnOfParams{ClientID: "c", Seq: 32})
	same(turn, err, int64(31))
	held, err := x.Held(ctx)
	same(held, err, []q.HeldRow{{ClientID: "c", HeadSeq: number(41), Attempts: 42, NextAt: number(43), Parked: 1, Paused: 1, ReplayNext: number(44)}})
	ok(x.ReleaseAccount(ctx, "c"))
	one(x.DeletePending(ctx, q.DeletePendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	ok(x.InsertPending(ctx, q.InsertPendingParams{ClientID: "c", Turn: 34, Seq: 34, Run: 1}))
	one(x.DeletePendingRange(ctx, q.DeletePendingRangeParams{ClientID: "c", First: 33, Last: 35}))

	ok(x.InsertAccount(ctx, "c"))
	ok(x.InsertAccount(ctx, "c"))
	ok(x.InsertAccount(ctx, "other"))
	want("SELECT * FROM accounts", "[c 0 <nil> 0 <nil> <nil> 1 44 45 46 other 0 <nil> 0 <nil> <nil> 0 <nil> <nil> <nil>]")

	one(x.PauseType(ctx, q.PauseTypeParams{Type: "t", Since: 71, Who: "w", Reason: "y"}))
	pauses, err := x.Pauses(ctx)
	same(pauses, err, []q.Pause{{Type: "t", Since: 71, Who: "w", Reason: "y"}})
	one(x.ResumeType(ctx, "t"))
	want("SELECT count(*) FROM pauses", "[0]")

	id, err := x.InsertAudit(ctx, q.InsertAuditParams{At: 81, Who: "w", Verb: "v", ClientID: text("c"), Type: text("t"), Seq: number(82),
		ToSeq: number(83), Run: number(84), Reason: "y", Bulk: sql.NullInt64{Valid: true}, Key: text("k"), Answer: "a"})
	same(id, err, int64(1))
	want("SELECT * FROM audit", "[1 81 w v c t 82 83 84 y 0 k a]")
	byKey, err := x.AuditByKey(ctx, text("k"))
	same(byKey, err, q.AuditByKeyRow{ID: 1, At: 81, Verb: "v", ClientID: text("c"), Type: text("t"), Seq: number(82), ToSeq: number(83), Run: number(84),
		Bulk: sql.NullInt64{Valid: true}, Answer: "a"})
	was, err := x.WasDone(ctx, q.WasDoneParams{ClientID: text("c"), Verb: "v", Seq: number(82)})
	same(was, err, int64(1))
	ok(x.AnswerAudit(ctx, q.AnswerAuditParams{Answer: "b", ID: 1}))
	answer, err := x.AuditAnswer(ctx, 1)
	same(answer, err, "b")
	_, err = x.InsertAudit(ctx, q.InsertAuditParams{Verb: "cancel", ClientID: text("c"), Seq: number(85), Answer: `{"run":86}`})
	ok(err)
	cancelled, err := x.WasCancelled(ctx, q.WasCancelledParams{ClientID: text("c"), Seq: number(85), Run: 86})
	same(cancelled, err, int64(1))
	for _, other := range []struct {
		client   string
		seq, run int64
	}{{"d", 85, 86}, {"c", 84, 86}, {"c", 85, 85}} {
		cancelled, err := x.WasCancelled(ctx, q.WasCancelledParams{ClientID: text(other.client), Seq: number(other.seq), Run: other.run})
		same(cancelled, err, int64(0))
	}

	ok(x.InsertResult(ctx, q.InsertResultParams{Seq: 21, Run: 51, Turn: 52, Settled: 53, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")}))
	want("SELECT * FROM results", "[21 51 52 53 dead 54 55 56 o e]")
	want("SELECT * FROM unflushed", "[]")
	ok(x.InsertPending(ctx, q.InsertPendingParams{ClientID: "c", Turn: 21, Seq: 21, Run: 1}))
	unflushed, err = x.ReadUnflushed(ctx, q.ReadUnflushedParams{Flushed: 20, Page: 1})
	same(unflushed, err, []q.ReadUnflushedRow{{Seq: 21, ClientID: "c", Settled: 1, InLane: 1}})
	result, err := x.ResultOf(ctx, 21)
	same(result, err, q.Result{Seq: 21, Run: 51, Turn: 52, Settled: 53, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")})
	repeated, err := x.Repeated(ctx, q.RepeatedParams{Type: "t", Payload: "p", ClientID: "c", MessageID: "m"})
	same(repeated, err, int64(21))
	reused, err := x.Repeated(ctx, q.RepeatedParams{Type: "t", Payload: "q", ClientID: "c", MessageID: "m"})
	same(reused, err, int64(-21))
	found, err := x.Find(ctx, q.FindParams{ClientID: "c", MessageID: "m"})
	same(found, err, q.FindRow{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a"),
		Status: text("dead"), Run: number(51), Attempts: number(54), StartedAt: number(55), FinishedAt: number(56), Output: text("o"), Error: text("e")})

	ok(x.InsertDelivery(ctx, q.InsertDeliveryParams{Seq: 21, ClientID: "c", DeliverAt: 91, Scheduled: 1}))
	want("SELECT * FROM deliveries", "[21 c 91 1]")
	want("SELECT * FROM scheduled", "[c 91 21]")
	identity, err = x.Identity(ctx, q.IdentityParams{ClientID: "c", MessageID: "m"})
	same(identity, err, q.IdentityRow{Seq: 21, Type: "t", Payload: "p", DeliverAt: number(91)})
	due, err := x.Due(ctx, q.DueParams{After: 91, AfterSeq: 20, Now: 91, Page: 1})
	same(due, err, []q.DueRow{{DeliverAt: 91, Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a")}})
	for _, p := range []q.DueParams{{After: 91, AfterSeq: 21, Now: 91, Page: 1}, {After: 92, Now: 99, Page: 1}, {After: 0, Now: 90, Page: 1}} {
		due, err := x.Due(ctx, p)
		same(due, err, []q.DueRow(nil))
	}
	firstDue, err := x.FirstDue(ctx)
	same(firstDue, err, int64(91))
	for i, client := range []string{"c", "d"} {
		n, err := x.CountScheduledOf(ctx, client)
		same(n, err, int64(1-i))
	}
	count, err := x.CountScheduled(ctx)
	same(count, err, int64(1))
	found, err = x.Find(ctx, q.FindParams{ClientID: "c", MessageID: "m"})
	same([]any{found.DeliverAt, found.Scheduled}, err, []any{number(91), number(1)})
	unflushed, err = x.ReadUnflushed(ctx, q.ReadUnflushedParams{Flushed: 20, Page: 1})
	same(unflushed, err, []q.ReadUnflushedRow{{Seq: 21, ClientID: "c", Settled: 1, InLane: 1, Delivered: 1}})
	account, err = x.ReadAccount(ctx, "c")
	same(account.Scheduled, err, int64(1))
	one(x.Unschedule(ctx, 21))
	if n, err := x.Unschedule(ctx, 21); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	scheduled, err := x.IsScheduled(ctx, 21)
	same(scheduled, err, int64(0))

	lastError, err := x.LastError(ctx, 21)
	same(lastError, err, int64(0))
	ok(x.InsertError(ctx, q.InsertErrorParams{Seq: 21, N: 92, Run: 93, Attempt: 94, At: 95, Error: "e"}))
	want("SELECT * FROM attempt_errors", "[21 92 93 94 95 e]")
	lastError, err = x.LastError(ctx, 21)
	same(lastError, err, int64(92))
	list, err := x.Errors(ctx, 21)
	same(list, err, []q.ErrorsRow{{Run: 93, Attempt: 94, At: 95, Error: "e"}})
	ok(x.DropErrors(ctx, q.DropErrorsParams{Seq: 21, N: 92}))
	want("SELECT count(*) FROM attempt_errors", "[0]")
	for range 2 {
		ok(x.InsertEmitted(ctx, q.InsertEmittedParams{Seq: 96, Emitted: 21}))
	}
	want("SELECT * FROM emitted", "[96 21]")
	emitted, err := x.EmittedBy(ctx, q.EmittedByParams{Seq: 96, After: 20, Page: 1})
	same(emitted, err, []q.EmittedByRow{{Seq: 21, ClientID: "c", MessageID: "m", Status: text("dead"), Scheduled: sql.NullInt64{Valid: true}}})
	emitted, err = x.EmittedBy(ctx, q.EmittedByParams{Seq: 96, After: 21, Page: 1})
	same(emitted, err, []q.EmittedByRow(nil))

	of, err := x.EventOf(ctx, 21)
	same(of, err, q.EventOfRow{ClientID: "c", MessageID: "m", Type: "t"})
	ending, err := x.Ending(ctx, 21)
	same(ending, err, q.EndingRow{Run: 51, Settled: 53, Status: "dead"})
	one(x.KeepRun(ctx, 21))
	want("SELECT * FROM runs", "[21 51 52 53 dead 54 55 56 o e]")
	last, err := x.LastRun(ctx, 21)
	same(last, err, int64(51))
	kept, err := x.Runs(ctx, q.RunsParams{Seq: 21, After: 50, Page: 1})
	same(kept, err, []q.RunsRow{{Run: 51, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")}})
	one(x.DeleteResult(ctx, 21))
	want("SELECT count(*) FROM results", "[0]")

	ok(x.SaveTableVersion(ctx, q.SaveTableVersionParams{Function: "f", Version: 61}))
	ok(x.SaveTableVersion(ctx, q.SaveTableVersionParams{Function: "f", Version: 62}))
	version, err := x.TableVersion(ctx, "f")
	same(version, err, int64(62))

	// A query that is added must be added here too.
	if n := reflect.TypeOf(x).NumMethod(); n != queriesTested+2 {
		t.Errorf("%d methods besides Close and WithTx, %d are tested", n-2, queriesTested)
	}
}

const queriesTested = 64
