package message_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"inturn/db"
	"inturn/db/postgres"
	"inturn/db/postgres/pgtest"
	"inturn/functions"
	"inturn/functions/functionstest"
	"inturn/functions/message"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// onPostgres is a database in a schema of its own.
type onPostgres struct {
	server *pgtest.Server
	schema string
	set    *functions.Set
}

func (p *onPostgres) Open(ctx context.Context, set *functions.Set, log *slog.Logger) (functionstest.Storage, error) {
	p.set = set
	d, err := postgres.Open(ctx, postgres.Options{
		URL: p.server.URL(), Schema: p.schema, Tables: set.Tables(), Erasures: set.Erasures(), Check: set.Check, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (p *onPostgres) Check(ctx context.Context) ([]db.Violation, error) {
	return postgres.Verify(ctx, p.server.URL(), p.schema, p.set.InvariantsOn(db.Postgres))
}

// Messages of many clients at once, and of one client under two phones: the same rows as on
// SQLite, in the same order.
func TestOnPostgres(t *testing.T) {
	server := pgtest.Get(t)
	e := functionstest.OpenOn(t, &onPostgres{server: server, schema: server.Schema()}, message.Function, message.Close)
	send := func(client, id, typ, phone string) db.Receipt {
		payload := fmt.Sprintf(`{"phone":%q,"text":"text of %s"}`, phone, id)
		ev := db.Event{ClientID: client, MessageID: id, Type: typ, Payload: json.RawMessage(payload)}
		r, err := e.Append(t.Context(), ev)
		if err != nil {
			t.Error(err)
		}
		return r
	}
	var all sync.WaitGroup
	const clients, messages = 20, 10
	var last [clients]db.Receipt
	for c := range clients {
		all.Go(func() {
			for i := range messages {
				send(fmt.Sprint("client", c), fmt.Sprint(i), "message", fmt.Sprintf("+7000000000%d", i%2))
			}
			send(fmt.Sprint("client", c), "close", "dialog.close", "+70000000000")
			last[c] = send(fmt.Sprint("client", c), "after", "message", "+70000000000")
		})
	}
	all.Wait()
	for _, r := range last {
		e.Wait(r)
	}
	counts := func(want ...int64) {
		t.Helper()
		row := e.Query(`SELECT (SELECT count(*) FROM clients), (SELECT count(*) FROM dialogs), (SELECT count(*) FROM dialogs WHERE active = 1), (SELECT count(*) FROM messages)`)[0]
		for i := range want {
			if row[i] != want[i] {
				t.Errorf("%v, want %v", row, want)
			}
		}
	}
	counts(clients*2, clients*3, clients*2, clients*(messages+1))
	if rows := e.Query(`SELECT count(*) FROM results WHERE status <> 'done'`); rows[0][0] != int64(0) {
		t.Error(rows)
	}
	if r := e.Erase("client0"); r.Rows["messages"] != messages+1 || r.Rows["dialogs"] != 3 || r.Rows["clients"] != 2 {
		t.Errorf("%+v", r)
	}
	counts((clients-1)*2, (clients-1)*3, (clients-1)*2, (clients-1)*(messages+1))
}
