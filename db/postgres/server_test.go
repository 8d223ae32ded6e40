package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/postgres"
	"inturn/db/postgres/pgtest"
)

func wantFailed(t *testing.T, d *postgres.DB) {
	t.Helper()
	select {
	case <-d.Failed():
	case <-time.After(30 * time.Second):
		t.Fatal("the storage goes on")
	}
}

// ownServer starts a server for a test that stops it, or changes what it is set to.
func ownServer(t *testing.T) *pgtest.Server {
	t.Helper()
	pgtest.Get(t)
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// A server that is killed in the middle of appends has all that were answered.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	s := &inSchema{server, server.Schema()}
	d := s.open(t, postgres.Options{})
	var mu sync.Mutex
	answered := map[string]int64{}
	var all sync.WaitGroup
	for c := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				ev := db.Event{ClientID: fmt.Sprint("c", c), MessageID: fmt.Sprint(i), Type: "note", Payload: []byte("{}")}
				r, err := d.Append(context.Background(), ev)
				if err != nil {
					if !errors.Is(err, db.ErrUnavailable) && !errors.Is(err, db.ErrOutcomeUnknown) {
						t.Errorf("answered %v", err)
					}
					return
				}
				mu.Lock()
				answered[ev.ClientID+"/"+ev.MessageID] = r.Seq
				mu.Unlock()
			}
		})
	}
	for enough := false; !enough; time.Sleep(time.Millisecond) {
		mu.Lock()
		enough = len(answered) > 200
		mu.Unlock()
	}
	server.Kill()
	all.Wait()
	wantFailed(t, d)
	d.Close()
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	d = s.open(t, postgres.Options{})
	if _, _, unclean := d.Backlog(); !unclean {
		t.Error("the end is called orderly")
	}
	for key, seq := range answered {
		client, message, _ := strings.Cut(key, "/")
		if ev, err := d.Find(t.Context(), client, message); err != nil || ev.Seq != seq {
			t.Errorf("%s was answered with seq %d: %+v, %v", key, seq, ev, err)
		}
	}
	checkClosed(t, d, s)
}

// A COMMIT whose wait for a standby is cancelled is answered by the server as if it were
// done. What became of it is not known.
func TestCancelledCommit(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	s := &inSchema{server, server.Schema()}
	d := s.open(t, postgres.Options{})
	accept(t, d, "a", "1")
	if err := server.Exec("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	for { // until the setting is there
		if err := server.Exec("SELECT 1 / (current_setting('synchronous_standby_names') = 'nobody')::int"); err == nil {
			break
		}
	}
	answer := make(chan error, 1)
	go func() {
		var err error
		for i := 2; err == nil; i++ { // the first ones may come before the setting does
			_, err = d.Append(context.Background(), db.Event{ClientID: "a", MessageID: fmt.Sprint(i), Type: "note", Payload: []byte("{}")})
		}
		answer <- err
	}()
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		waits = server.Exec("SELECT 1 / count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == nil
	}
	if err := server.Exec("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; !errors.Is(err, db.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
	wantFailed(t, d)
	if err := d.Err(); !errors.Is(err, db.ErrOutcomeUnknown) {
		t.Errorf("%v", err)
	}
}

// What ends the writer's connection ends the ownership: the next owner has everything.
func TestBackendIsTerminated(t *testing.T) {
	t.Parallel()
	d, s := open(t, postgres.Options{})
	ev := accept(t, d, "a", "1")
	if err := s.server.Exec("SELECT pg_terminate_backend(pid) FROM " + s.schema + ".writers"); err != nil {
		t.Fatal(err)
	}
	n, err := d.Settle(done(ev, true, insertItem(ev, "late")))
	if n != 0 || !errors.Is(err, db.ErrUnavailable) && !errors.Is(err, db.ErrOutcomeUnknown) {
		t.Errorf("%d, %v", n, err)
	}
	wantFailed(t, d)
	d = s.open(t, postgres.Options{})
	if n, err := d.Settle(done(ev, true, insertItem(ev, "now"))); n != 1 || err != nil {
		t.Error(n, err)
	}
	checkClosed(t, d, s)
}

// A writer whose row another connection has taken writes nothing, also where the epoch is
// its own: a pooler may have moved the session.
func TestFenceKnowsTheConnection(t *testing.T) {
	t.Parallel()
	d, s := open(t, postgres.Options{})
	accept(t, d, "a", "1")
	if err := s.server.Exec("UPDATE " + s.schema + ".writers SET pid = pid + 1"); err != nil {
		t.Fatal(err)
	}
	_, err := d.Append(t.Context(), db.Event{ClientID: "a", MessageID: "2", Type: "note", Payload: []byte("{}")})
	if !errors.Is(err, db.ErrFenced) {
		t.Errorf("%v", err)
	}
}

// A take-over waits for what the owner has open.
func TestTakeOverWaitsForWhatIsOpen(t *testing.T) {
	t.Parallel()
	d, s := open(t, postgres.Options{})
	ev := accept(t, d, "a", "1")
	stolen := make(chan error, 1)
	_, err := d.Settle(done(ev, true, func(tx db.Tx) (any, error) {
		_, err := insertItem(ev, "open")(tx)
		go func() { stolen <- s.Steal(context.Background()) }()
		select {
		case err := <-stolen:
			t.Errorf("it did not wait: %v", err)
			stolen <- err
		case <-time.After(100 * time.Millisecond):
		}
		return nil, err
	}))
	if err != nil {
		t.Error(err)
	}
	if err := <-stolen; err != nil {
		t.Error(err)
	}
	if n, err := d.Settle(done(neverAccepted(), true, nil)); n != 0 || !errors.Is(err, db.ErrFenced) {
		t.Error(n, err)
	}
}

// neverAccepted is an event that was never accepted.
func neverAccepted() db.Event {
	return db.Event{ClientID: "a", MessageID: "2", Type: "note", Seq: 7, Position: 7, Run: 1, Attempt: 1}
}

func TestServersThatAreRefused(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	refused := func(want string, o postgres.Options) {
		t.Helper()
		if d, err := postgres.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
			if err == nil {
				d.Close()
			}
		}
	}
	refused("synchronous_commit is off", postgres.Options{URL: server.URL("options=-csynchronous_commit=off")})
	refused("synchronous_commit is local", postgres.Options{URL: server.URL("options=-csynchronous_commit=local")})
	if err := server.Exec("CREATE SCHEMA theirs", "CREATE TABLE theirs.things (a int)", "CREATE SCHEMA newer", "CREATE TABLE newer.engine (version int)", "INSERT INTO newer.engine VALUES (1000)",
		"CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0", "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	for server.Exec("SELECT 1 / (current_setting('fsync') = 'off')::int") != nil {
		time.Sleep(time.Millisecond)
	}
	refused("fsync = off", postgres.Options{URL: server.URL()})
	if err := server.Exec("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	for server.Exec("SELECT 1 / (current_setting('fsync') = 'on')::int") != nil {
		time.Sleep(time.Millisecond)
	}
	refused("not inturn's", postgres.Options{URL: server.URL(), Schema: "theirs"})
	refused("newer version", postgres.Options{URL: server.URL(), Schema: "newer"})
	refused("LATIN1", postgres.Options{URL: server.URL("dbname=latin")})
	if _, err := postgres.Open(t.Context(), postgres.Options{URL: "postgres://user:secret@127.0.0.1:1/x?sslmode=disable"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an address with a password: %v", err)
	}
}
