package message

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db"
	"inturn/functions"
	"inturn/functions/functionstest"
	"inturn/functions/message/q"
)

const senders = 64

// rounds is how often a race is run; INTURN_LONG=1 runs it longer.
func rounds(short int) int {
	if os.Getenv("INTURN_LONG") != "" {
		return short * 20
	}
	return short
}

// together calls f once for each sender, all at the same time, and returns the
// errors.
func together(f func(sender int) error) []error {
	errs := make([]error, senders)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// System B's fault, on the whole engine: many senders at once with the first
// messages of one new client, and half of them send the same message.
func TestConcurrentFirstMessagesShareOneDialog(t *testing.T) {
	e := functionstest.New(t, Function, Close)
	for round := range rounds(15) {
		client := fmt.Sprintf("client%026d", round)
		receipts := make([]db.Receipt, senders)
		for _, err := range together(func(i int) (err error) {
			id := fmt.Sprintf("m%d", i%(senders/2))
			receipts[i], err = e.Append(context.Background(), functions.Event{
				ClientID: client, MessageID: id, Type: "message",
				Payload: fmt.Appendf(nil, `{"phone":%q,"text":"text of %s"}`, phone, id),
			})
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range receipts {
			e.Wait(r)
		}
		got := e.Query(`
SELECT (SELECT count(*) FROM clients WHERE external_client_id = ?1),
       (SELECT count(*) FROM dialogs d JOIN clients c ON c.id = d.client WHERE c.external_client_id = ?1 AND d.active = 1),
       (SELECT count(*) FROM dialogs d JOIN clients c ON c.id = d.client WHERE c.external_client_id = ?1),
       count(*), count(DISTINCT m.message_id)
FROM messages m JOIN clients c ON c.id = m.client WHERE c.external_client_id = ?1`, client)
		if want := [][]any{{int64(1), int64(1), int64(1), int64(senders / 2), int64(senders / 2)}}; !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: clients, active dialogs, dialogs, messages, different ones: %v, want %v", round, got, want)
		}
	}
}

// The chat as a sender sees it, closes and all.
func TestCloseAndNextDialog(t *testing.T) {
	e := functionstest.New(t, Function, Close)
	result := func(typ, client, id, payload string) string {
		t.Helper()
		got := e.Do(functions.Event{ClientID: client, MessageID: id, Type: typ, Payload: []byte(payload)})
		if got.State != db.Done {
			t.Fatalf("%s %s is %s: %+v", client, id, got.State, got.Result)
		}
		return string(got.Result.Output)
	}
	for _, c := range []struct{ typ, client, id, payload, want string }{
		{"message", "a", "1", `{"phone":"+70000000000","text":"hi"}`, `{"client":1,"dialog":1,"message":1}`},
		{"message", "b", "1", `{"phone":"+70000000000","text":"hi"}`, `{"client":2,"dialog":2,"message":2}`},
		{"message", "a", "2", `{"phone":"+70000000000","text":"still there?"}`, `{"client":1,"dialog":1,"message":3}`},
		{"dialog.close", "a", "3", `{"phone":"+70000000000"}`, `{"dialog":1}`},
		{"dialog.close", "a", "4", `{"phone":"+70000000000"}`, `{"dialog":null}`},
		{"message", "a", "5", `{"phone":"+70000000000","text":"again"}`, `{"client":1,"dialog":3,"message":4}`},
		{"message", "b", "2", `{"phone":"+70000000000","text":"me too"}`, `{"client":2,"dialog":2,"message":5}`},
	} {
		if got := result(c.typ, c.client, c.id, c.payload); got != c.want {
			t.Errorf("%s %s %s: %s, want %s", c.typ, c.client, c.id, got, c.want)
		}
	}
}

// The controls: the same find-or-create without the account's order, each statement
// by itself as the old system had it. Without the unique indexes it makes doubles,
// so the race is real and the test above would see it. With them the database
// refuses the doubles.
func TestWithoutOrderTheIndexesAreWhatRefusesDoubles(t *testing.T) {
	t.Run("neither order nor indexes", func(t *testing.T) {
		clients, dialogs, refused := raceNaively(t, loose(t))
		if clients == 0 || dialogs == 0 {
			t.Errorf("%d doubled clients, %d doubled dialogs: the race was not met, so this test proves nothing", clients, dialogs)
		}
		if refused != 0 {
			t.Errorf("%d refusals by tables without indexes", refused)
		}
	})
	t.Run("no order, but indexes", func(t *testing.T) {
		clients, dialogs, refused := raceNaively(t, tables)
		if clients != 0 || dialogs != 0 {
			t.Errorf("%d doubled clients, %d doubled dialogs", clients, dialogs)
		}
		if refused == 0 {
			t.Error("no double was tried")
		}
	})
}

// raceNaively lets every sender find or create the client and its dialog on a
// connection of its own. All have looked before any of them writes: the step that
// the old system's concurrent workers took by chance.
func raceNaively(t *testing.T, tables string) (clients, dialogs, refused int) {
	t.Helper()
	file := url.URL{Scheme: "file", Path: filepath.Join(t.TempDir(), "naive.db")}
	pool, err := sql.Open("sqlite", file.String()+"?_journal_mode=WAL&_synchronous=OFF&_foreign_keys=1&_busy_timeout=60000")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.ExecContext(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	for round := range rounds(2) {
		ev, m := sample(fmt.Sprint("client", round), "m")
		var looked sync.WaitGroup
		looked.Add(senders)
		for _, err := range together(func(i int) error {
			rows := q.New(pool)
			find := q.FindDialogParams{ExternalClientID: ev.ClientID, ClientPhone: m.Phone}
			found, err := rows.FindDialog(t.Context(), find)
			looked.Done()
			looked.Wait()
			if !errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("sender %d found %+v, %w", i, found, err)
			}
			_, refusal := rows.AddClient(t.Context(), q.AddClientParams{ExternalClientID: ev.ClientID, ClientPhone: m.Phone})
			if found, err = rows.FindDialog(t.Context(), find); err != nil {
				return err
			}
			_, refusal2 := rows.OpenDialog(t.Context(), q.OpenDialogParams{Client: found.Client, OpenedAt: 1})
			return errors.Join(refusal, refusal2)
		}) {
			if se, ok := errors.AsType[*sqlite.Error](err); ok && se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	for query, n := range map[string]*int{
		`SELECT count(*) FROM (SELECT 1 FROM clients GROUP BY external_client_id, client_phone HAVING count(*) > 1)`: &clients,
		`SELECT count(*) FROM (SELECT 1 FROM dialogs WHERE active = 1 GROUP BY client HAVING count(*) > 1)`:          &dialogs,
	} {
		if err := pool.QueryRowContext(t.Context(), query).Scan(n); err != nil {
			t.Fatal(err)
		}
	}
	return clients, dialogs, refused
}

// Should a file have lost its indexes and got doubles, `inturn check` says so.
func TestDoublesAreFoundOut(t *testing.T) {
	conn := openFile(t, loose(t))
	rows := q.New(conn)
	for range 2 {
		if _, err := rows.AddClient(t.Context(), q.AddClientParams{ExternalClientID: "a", ClientPhone: phone}); err != nil {
			t.Fatal(err)
		}
		if _, err := rows.OpenDialog(t.Context(), q.OpenDialogParams{Client: 1, OpenedAt: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(violations(t, conn), "\n"); !strings.Contains(got, "client-doubled") || !strings.Contains(got, "dialog-doubled") {
		t.Errorf("check says %q", got)
	}
}
