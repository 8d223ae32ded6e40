package runner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/run"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
	"inturn/functions"
	"inturn/runner"
)

// The runner on the real storage: what the fake promises in the other tests is what
// *sqlite.DB does. Time is the bubble's, so a backoff costs none.
func TestOnTheRealStore(t *testing.T) {
	for _, path := range []string{":memory:", filepath.Join(t.TempDir(), "inturn.db")} {
		name := "file"
		if path == ":memory:" {
			name = "memory"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { onTheRealStore(t, path) })
		})
		if name == "file" {
			violations, err := file.Verify(t.Context(), path, nil)
			if err != nil || len(violations) > 0 {
				t.Errorf("check: %v %v", err, violations)
			}
		}
	}
}

func onTheRealStore(t *testing.T, path string) {
	const tables = `CREATE TABLE effects (n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, client_id TEXT NOT NULL, message_id TEXT NOT NULL) STRICT;`
	work := func(_ context.Context, ev functions.Event, _ any) (functions.Effect, error) {
		var err error
		if ev.MessageID == "3" {
			switch {
			case ev.ClientID == "parks":
				return nil, functions.Retry(time.Minute, errors.New("no"))
			case ev.ClientID == "rejects":
				return nil, functions.Reject(errors.New("never"))
			case ev.ClientID == "retries" && ev.Attempt < 4:
				return nil, errors.New("later")
			case ev.ClientID == "effect" && ev.Attempt < 3:
				err = errors.New("the effect fails")
			case ev.ClientID == "panics" && ev.Attempt < 3:
				panic("boom")
			}
		}
		return func(tx functions.Tx) (any, error) {
			_, xerr := tx.ExecContext(tx.Context(), `INSERT INTO effects (client_id, message_id) VALUES (?, ?)`, ev.ClientID, ev.MessageID)
			return nil, errors.Join(xerr, err)
		}, nil
	}
	set, err := functions.NewSet(functions.New("one", work, functions.Tables(1, tables)), functions.New("ahead", work, functions.Pure()))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Tables: set.Tables(), Check: set.Check, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	// So little memory that lanes go from hot to cold and back all the time.
	r := runner.New(runner.Options{Store: store, Functions: set, Log: log, Slice: 4, HotBytes: 8 << 10, InFlight: 4, Pollers: 2})
	r.Start(store.Backlog())
	store.OnChange(r.Changed)
	store.OnAppend(r.Appended)
	var g run.Group
	r.AddTo(&g, time.Minute)
	quit := make(chan struct{})
	g.Add(func() error { <-quit; return nil }, func(error) {})
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()

	clients := []string{"plain", "parks", "rejects", "retries", "effect", "panics"}
	const each = 40
	for i := range each {
		for n, c := range clients {
			typ := []string{"one", "ahead"}[(n+i/10)%2]
			ev := db.Event{ClientID: c, MessageID: fmt.Sprint(i), Type: typ, Payload: []byte(`{"n":"` + fmt.Sprintf("%0*d", (i%5)*200, i) + `"}`)}
			if _, err := store.Append(context.Background(), ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	for _, c := range clients {
		evs, err := store.Events(context.Background(), db.Filter{ClientID: c, Limit: each})
		if err != nil {
			t.Fatal(err)
		}
		if len(evs) != each {
			t.Fatalf("%s has %d events", c, len(evs))
		}
		for i, ev := range evs {
			want := db.Done
			switch {
			case c == "parks" && i >= 3:
				want = db.Pending
			case c == "rejects" && i == 3:
				want = db.Dead
			}
			if ev.State != want {
				t.Errorf("%s %s is %s, want %s", c, ev.MessageID, ev.State, want)
			}
		}
	}
	close(quit)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if path == ":memory:" {
		return
	}
	file, err := file.OpenReadOnly(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for c, want := range map[string]int{"plain": each, "parks": 3, "rejects": each - 1, "retries": each, "effect": each, "panics": each} {
		rows, err := file.Query(`SELECT message_id FROM effects WHERE client_id = ? ORDER BY n`, c)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for last := -1; rows.Next(); n++ {
			var id int
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			if id <= last {
				t.Errorf("%s: the effect of %d came after that of %d", c, id, last)
			}
			last = id
		}
		if n != want {
			t.Errorf("%s has %d effects, want %d", c, n, want)
		}
	}
	var attempts, parked int
	if err := file.QueryRow(`SELECT attempts, parked FROM accounts WHERE client_id = 'parks'`).Scan(&attempts, &parked); err != nil || attempts != 20 || parked != 1 {
		t.Errorf("the account that parks has %d attempts, parked %d (%v), want 20 and 1", attempts, parked, err)
	}
}
