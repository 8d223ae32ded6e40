package db

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"testing"

	"inturn/db/internal/q"
)

// TestQueries gives every parameter and every column of the generated code a value
// of its own, so that none can take another's place. (sqlc has mixed them up before:
// that is why parameters have names.)
func TestQueries(t *testing.T) {
	ctx := context.Background()
	pool, err := sql.Open("sqlite", memoryDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	if _, err := pool.Exec(schema(t)); err != nil {
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
	text := func(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }
	number := func(n int64) sql.NullInt64 { return sql.NullInt64{Int64: n, Valid: true} }

	ok(x.CreateOwner(ctx, q.CreateOwnerParams{Epoch: 11, Name: "n1", Since: 12}))
	want("SELECT * FROM owner", "[1 11 n1 12 0 1 1 0]")
	ok(x.TakeOwnership(ctx, q.TakeOwnershipParams{Epoch: 13, Name: "n2", Since: 14}))
	ok(x.SaveCounters(ctx, q.SaveCountersParams{NextSeq: 15, NextSettled: 16}))
	ok(x.SaveFiled(ctx, 17))
	want("SELECT * FROM owner", "[1 13 n2 14 0 15 16 17]")
	ok(x.LeaveOwnership(ctx))
	owner, err := x.Owner(ctx)
	same(owner, err, q.OwnerRow{Epoch: 13, Name: "n2", Since: 14, Clean: 1, NextSeq: 15, NextSettled: 16})
	filed, err := x.Filed(ctx)
	same(filed, err, int64(17))
	epoch, err := x.Epoch(ctx)
	same(epoch, err, int64(13))

	one(x.InsertOutbox(ctx, q.InsertOutboxParams{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a")}))
	want("SELECT * FROM outbox", "[21 c m t p 22 r a]")
	if n, err := x.InsertOutbox(ctx, q.InsertOutboxParams{Seq: 99, ClientID: "c", MessageID: "m"}); n != 0 || err != nil {
		t.Errorf("a repeat: %d, %v", n, err)
	}
	unfiled, err := x.Unfiled(ctx, q.UnfiledParams{Filed: 20, Page: 1})
	same(unfiled, err, []q.UnfiledRow{{Seq: 21, ClientID: "c"}})
	ok(x.FileEvent(ctx, 21))
	ok(x.FileEvent(ctx, 21))
	ok(x.FileEvent(ctx, 22)) // is not there
	want("SELECT * FROM history", "[c 21]")
	identity, err := x.Identity(ctx, q.IdentityParams{ClientID: "c", MessageID: "m"})
	same(identity, err, q.IdentityRow{Seq: 21, Type: "t", Payload: "p"})

	at, err := x.AcceptedAt(ctx, 20)
	same(at, err, int64(22))
	ok(x.InsertPending(ctx, q.InsertPendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))
	want("SELECT * FROM pending", "[c 31 32 33]")
	pending, err := x.IsPending(ctx, q.IsPendingParams{ClientID: "c", Turn: 31, Seq: 32})
	same(pending, err, int64(1))
	backlogs, err := x.Backlogs(ctx)
	same(backlogs, err, []q.BacklogsRow{{ClientID: "c", Events: 1, HeadTurn: 31}})
	ok(x.InsertAccount(ctx, "c"))
	ok(x.HoldAccount(ctx, q.HoldAccountParams{HeadSeq: number(41), Attempts: 42, NextAt: number(43), Parked: 1, LastError: text("e"), ClientID: "c"}))
	row := q.AccountRow{ClientID: "c", Parked: 1, HeadSeq: number(41), Attempts: 42, NextAt: number(43), LastError: text("e"), Pending: 1, FirstSeq: 32}
	account, err := x.Account(ctx, "c")
	same(account, err, row)
	accounts, err := x.Accounts(ctx, q.AccountsParams{After: "b", Page: 5})
	same(accounts, err, []q.AccountsRow{q.AccountsRow(row)})
	ok(x.ReleaseAccount(ctx, "c"))
	one(x.DeletePending(ctx, q.DeletePendingParams{ClientID: "c", Turn: 31, Seq: 32, Run: 33}))

	ok(x.InsertAccount(ctx, "c"))
	ok(x.InsertAccount(ctx, "c"))
	ok(x.InsertAccount(ctx, "other"))
	ok(x.HoldAccount(ctx, q.HoldAccountParams{HeadSeq: number(41), Attempts: 42, NextAt: number(43), Parked: 1, LastError: text("e"), ClientID: "c"}))
	want("SELECT client_id, parked, head_seq, attempts, next_at, last_error FROM accounts", "[c 1 41 42 43 e other 0 <nil> 0 <nil> <nil>]")
	held, err := x.Held(ctx)
	same(held, err, []q.HeldRow{{ClientID: "c", HeadSeq: number(41), Attempts: 42, NextAt: number(43), Parked: 1}})
	ok(x.ReleaseAccount(ctx, "c"))
	want("SELECT client_id, parked, head_seq, attempts, next_at, last_error FROM accounts", "[c 0 <nil> 0 <nil> <nil> other 0 <nil> 0 <nil> <nil>]")

	ok(x.InsertResult(ctx, q.InsertResultParams{Seq: 21, Run: 51, Turn: 52, Settled: 53, Status: "dead", Attempts: 54, StartedAt: 55, FinishedAt: 56, Output: text("o"), Error: text("e")}))
	want("SELECT * FROM results", "[21 51 52 53 dead 54 55 56 o e]")
	settled, err := x.Settled(ctx, 21)
	same(settled, err, int64(1))
	found, err := x.Find(ctx, q.FindParams{ClientID: "c", MessageID: "m"})
	same(found, err, q.FindRow{Seq: 21, ClientID: "c", MessageID: "m", Type: "t", Payload: "p", ReceivedAt: 22, RequestID: "r", Attrs: text("a"),
		Status: text("dead"), Run: number(51), Attempts: number(54), StartedAt: number(55), FinishedAt: number(56), Output: text("o"), Error: text("e")})

	ok(x.SaveTableVersion(ctx, q.SaveTableVersionParams{Function: "f", Version: 61}))
	ok(x.SaveTableVersion(ctx, q.SaveTableVersionParams{Function: "f", Version: 62}))
	version, err := x.TableVersion(ctx, "f")
	same(version, err, int64(62))

	// A query that is added must be added here too.
	if n := reflect.TypeOf(x).NumMethod(); n != queriesTested+2 {
		t.Errorf("%d methods besides Close and WithTx, %d are tested", n-2, queriesTested)
	}
}

const queriesTested = 28
