package serve

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/db/postgres/pgtest"
	"inturn/internal/program"
)

// ofPostgres starts a server for the test that outlives kills of inturn.
func ofPostgres(t *testing.T) *pgtest.Server {
	t.Helper()
	program.SkipRaced(t)
	pgtest.Need(t)
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// The whole server on PostgreSQL: events, functions, questions, an operator, commands, and
// a kill in between.
func TestServeOnPostgres(t *testing.T) {
	t.Parallel()
	server, dir := ofPostgres(t), t.TempDir()
	env := []string{"INTURN_DB=" + server.URL("password=very-secret"), "INTURN_NODE=first"}
	s := program.Serve(t, dir, env)
	if strings.Contains(s.Logged(), "very-secret") {
		t.Errorf("the password is in the log:\n%s", s.Logged())
	}
	first := s.Post(t, chat("a", "1", "hello"), "-H", wait)
	var got struct {
		Seq    int64
		State  string
		Result struct{ Client, Dialog, Message int64 }
	}
	if err := json.Unmarshal([]byte(first.Body), &got); err != nil || first.Status != 200 || got.State != "done" || got.Result.Message == 0 {
		t.Fatalf("%d %s, %v", first.Status, first.Body, err)
	}
	if a := s.Post(t, chat("a", "1", "hello")); a.Status != 200 || !strings.Contains(a.Body, fmt.Sprintf(`"seq":%d`, got.Seq)) {
		t.Errorf("a repeat: %d %s", a.Status, a.Body)
	}
	if a := s.Post(t, chat("a", "1", "another")); a.Status != 422 {
		t.Errorf("another payload: %d %s", a.Status, a.Body)
	}
	later := strings.Replace(chat("later", "1", "x"), "{", fmt.Sprintf(`{"deliver_at":%q,`, time.Now().Add(time.Hour).Format(time.RFC3339)), 1)
	if a := s.Post(t, later); a.Status != 400 || !strings.Contains(a.Body, "#/deliver_at") || !strings.Contains(a.Body, "PostgreSQL") {
		t.Errorf("deliver_at: %d %s", a.Status, a.Body)
	}
	batch := "[" + chat("b", "1", "x") + "," + chat("b", "2", "y") + "," + chat("c", "1", "z") + "]"
	if a := s.Post(t, batch); a.Status != 200 || !strings.Contains(a.Body, `"accepted":3`) {
		t.Errorf("a batch: %d %s", a.Status, a.Body)
	}
	if a := s.Curl(t, "/v1/accounts/busy/pause", "-X", "POST"); a.Status != 200 {
		t.Errorf("pause: %d %s", a.Status, a.Body)
	}
	if a := s.Post(t, chat("busy", "1", "held")); a.Status != 202 {
		t.Errorf("of a paused account: %d %s", a.Status, a.Body)
	}
	for _, path := range []string{"/v1/events?client_id=a", "/v1/accounts", "/v1/accounts/busy", "/v1/dead", "/v1/status", "/v1/accounts?sort=pending"} {
		if a := s.Curl(t, path); a.Status != 200 {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	if a := program.Curl(t, "http://"+s.Admin+"/metrics"); a.Status != 200 || !strings.Contains(a.Body, `inturn_pending_events{account="held"} 1`) {
		t.Errorf("metrics: %d %s", a.Status, a.Body)
	}

	s.Cmd.Process.Signal(syscall.SIGKILL)
	s.End(t)
	s = program.Serve(t, dir, env)
	if a := s.Curl(t, "/v1/accounts/busy/resume", "-X", "POST"); a.Status != 200 {
		t.Errorf("resume: %d %s", a.Status, a.Body)
	}
	if a := s.Post(t, chat("busy", "1", "held"), "-H", wait); a.Status != 200 || !strings.Contains(a.Body, `"state":"done"`) {
		t.Errorf("after a kill: %d %s", a.Status, a.Body)
	}
	if r := program.Run(t, dir, env, "query", "--csv", "SELECT client_id, count(*) FROM outbox GROUP BY client_id ORDER BY 1"); r.Status != 0 || r.Out != "client_id,count\na,1\nb,2\nbusy,1\nc,1\n" {
		t.Errorf("query: %+v", r)
	}
	if r := program.Run(t, dir, env, "query", "DELETE FROM outbox"); r.Status != 1 || !strings.Contains(r.ErrOut, "read-only") {
		t.Errorf("a query that writes: %+v", r)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	if r := program.Run(t, dir, env, "check"); r.Status != 0 || r.Out != "ok: 5 events of 4 accounts: 5 done, 0 dead, 0 pending\n" {
		t.Errorf("check: %+v", r)
	}
	if err := server.Exec("DELETE FROM inturn.results WHERE seq = (SELECT max(seq) FROM inturn.outbox)", "UPDATE inturn.slots SET filed = 1::bigint << 40"); err != nil {
		t.Fatal(err)
	}
	if r := program.Run(t, dir, env, "check"); r.Status != 1 || !strings.Contains(r.Out, "lost: ") || strings.Contains(r.ErrOut, "very-secret") {
		t.Errorf("check of what has lost a result: %+v", r)
	}
	for _, command := range [][]string{{"backup", "copy.db"}, {"compact"}, {"restore", "copy.db"}} {
		if r := program.Run(t, dir, env, command...); r.Status != 1 || strings.Contains(r.ErrOut, "very-secret") {
			t.Errorf("%v: %+v", command, r)
		}
	}
}

func TestServeSaysWhyItCannotOnPostgres(t *testing.T) {
	t.Parallel()
	server := ofPostgres(t)
	if err := server.Exec("CREATE SCHEMA theirs", "CREATE TABLE theirs.things (a int)"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []refused{
		{name: "nobody is there", args: []string{"serve", "--db", "postgres://u:very-secret@127.0.0.1:1/x"}, status: 1, says: `serve: open PostgreSQL: the database can't be written: connect: .+`, hint: `is the server running.+`},
		{name: "an address that is none", args: []string{"serve", "--db", "postgres://127.0.0.1:port/x"}, status: 1, says: `serve: open PostgreSQL: the address of the database can't be read.*`},
		{name: "a schema of others", args: []string{"serve", "--db", server.URL(), "--db-schema", "theirs"}, status: 1, says: `serve: open PostgreSQL: .+"theirs" has tables that are not inturn's.+`, hint: `.+--db-schema`},
	} {
		c.run(t, t.TempDir())
	}
}
