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
	"testing"

	"inturn/functions/message/q"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// openFile makes a file with the engine's schema and the given tables and returns
// its only connection.
func openFile(t testing.TB, tables string) *sql.Conn {
	t.Helper()
	engine, err := os.ReadFile("../../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	file := url.URL{Scheme: "file", Path: filepath.Join(t.TempDir(), "chats.db")}
	pool, err := sql.Open("sqlite", file.String()+"?_journal_mode=WAL&_foreign_keys=1&_pragma=cache_size(-65536)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	conn, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	mustExec(t, conn, string(engine))
	mustExec(t, conn, tables)
	return conn
}

func mustExec(t testing.TB, conn *sql.Conn, query string, args ...any) {
	t.Helper()
	if _, err := conn.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// read returns a query's rows, each as its columns' text, joined by blanks.
func read(t testing.TB, conn *sql.Conn, query string, args ...any) []string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for rows.Next() {
		cells := make([]sql.NullString, len(cols))
		ptrs := make([]any, len(cols))
		for i := range cells {
			ptrs[i] = &cells[i]
		}
		if err := rows.Scan(ptrs...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, c := range cells {
			if !c.Valid {
				c.String = "NULL"
			}
			line = append(line, c.String)
		}
		all = append(all, strings.Join(line, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func wantRows(t testing.TB, conn *sql.Conn, query string, want ...string) {
	t.Helper()
	if got := read(t, conn, query); !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

// Each query, with another value in every column and parameter: what sqlc mixes up
// it mixes up silently.
func TestQueriesPutEachValueInItsPlace(t *testing.T) {
	ctx := t.Context()
	conn := openFile(t, tables)
	rows := q.New(conn)
	mustExec(t, conn, `INSERT INTO clients VALUES (10, 'other', '+99')`)
	mustExec(t, conn, `INSERT INTO dialogs VALUES (20, 10, 1, 5, NULL)`)
	mustExec(t, conn, `INSERT INTO messages VALUES (30, 10, 20, 'm', 't', 6)`)

	client, err := rows.AddClient(ctx, q.AddClientParams{ExternalClientID: "ext", ClientPhone: "+11"})
	if err != nil || client != 11 {
		t.Fatal(client, err)
	}
	wantRows(t, conn, `SELECT * FROM clients`, "10 other +99", "11 ext +11")

	find := q.FindDialogParams{ExternalClientID: "ext", ClientPhone: "+11"}
	found, err := rows.FindDialog(ctx, find)
	if err != nil || found != (q.FindDialogRow{Client: 11}) {
		t.Fatalf("without a dialog: %+v, %v", found, err)
	}
	dialog, err := rows.OpenDialog(ctx, q.OpenDialogParams{Client: 11, OpenedAt: 77})
	if err != nil || dialog != 21 {
		t.Fatal(dialog, err)
	}
	wantRows(t, conn, `SELECT * FROM dialogs WHERE id = 21`, "21 11 1 77 NULL")
	found, err = rows.FindDialog(ctx, find)
	if err != nil || found.Client != 11 || found.Dialog != (sql.NullInt64{Int64: 21, Valid: true}) {
		t.Fatalf("with a dialog: %+v, %v", found, err)
	}
	for _, p := range []q.FindDialogParams{{ExternalClientID: "other", ClientPhone: "+11"}, {ExternalClientID: "ext", ClientPhone: "+99"}, {ExternalClientID: "+11", ClientPhone: "ext"}} {
		if _, err := rows.FindDialog(ctx, p); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("FindDialog(%+v): %v, want no rows", p, err)
		}
	}

	add := q.AddMessageParams{Client: 11, Dialog: 21, MessageID: "mid", Text: "words", ReceivedAt: 88}
	res, err := rows.AddMessage(ctx, add)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := res.LastInsertId()
	if n, _ := res.RowsAffected(); id != 31 || n != 1 {
		t.Errorf("AddMessage: id %d, %d rows", id, n)
	}
	wantRows(t, conn, `SELECT * FROM messages WHERE id = 31`, "31 11 21 mid words 88")
	res, err = rows.AddMessage(ctx, add)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n != 0 {
		t.Errorf("AddMessage again: %d rows", n)
	}
	if found, err := rows.FindMessage(ctx, q.FindMessageParams{MessageID: "mid", Dialog: 21}); err != nil || found != (q.FindMessageRow{ID: 31, Text: "words"}) {
		t.Errorf("FindMessage: %+v, %v", found, err)
	}
	if _, err := rows.FindMessage(ctx, q.FindMessageParams{MessageID: "mid", Dialog: 20}); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("FindMessage in another dialog: %v", err)
	}

	closing := q.CloseDialogParams{ClosedAt: sql.NullInt64{Int64: 99, Valid: true}, ExternalClientID: "ext", ClientPhone: "+11"}
	if id, err := rows.CloseDialog(ctx, closing); err != nil || id != 21 {
		t.Errorf("CloseDialog: %d, %v", id, err)
	}
	wantRows(t, conn, `SELECT * FROM dialogs`, "20 10 1 5 NULL", "21 11 0 77 99")
	if _, err := rows.CloseDialog(ctx, closing); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("CloseDialog again: %v", err)
	}
}

func TestTheDatabaseRefusesDoubles(t *testing.T) {
	conn := openFile(t, tables)
	for _, ok := range []string{
		`INSERT INTO clients VALUES (1, 'client00000000000000000000000000', '+70000000000')`,
		`INSERT INTO clients VALUES (2, 'client00000000000000000000000001', '+70000000000')`,
		`INSERT INTO clients VALUES (3, 'client00000000000000000000000000', '+70000000001')`,
		`INSERT INTO dialogs VALUES (1, 1, 0, 1, 2)`,
		`INSERT INTO dialogs VALUES (2, 1, 0, 3, 4)`,
		`INSERT INTO dialogs VALUES (3, 1, 1, 5, NULL)`,
		`INSERT INTO dialogs VALUES (4, 2, 1, 5, NULL)`,
		`INSERT INTO messages VALUES (1, 1, 3, 'm', 't', 1)`,
		`INSERT INTO messages VALUES (2, 2, 4, 'm', 't', 1)`,
	} {
		mustExec(t, conn, ok)
	}
	for _, c := range []struct {
		what, query string
		code        int
	}{
		{"a client twice", `INSERT INTO clients VALUES (9, 'client00000000000000000000000000', '+70000000000')`, sqlite3.SQLITE_CONSTRAINT_UNIQUE},
		{"a second active dialog", `INSERT INTO dialogs VALUES (9, 1, 1, 1, NULL)`, sqlite3.SQLITE_CONSTRAINT_UNIQUE},
		{"an old dialog made active beside one", `UPDATE dialogs SET active = 1, closed_at = NULL WHERE id = 1`, sqlite3.SQLITE_CONSTRAINT_UNIQUE},
		{"a message twice in a dialog", `INSERT INTO messages VALUES (9, 1, 3, 'm', 'other', 2)`, sqlite3.SQLITE_CONSTRAINT_UNIQUE},
		{"a dialog of nobody", `INSERT INTO dialogs VALUES (9, 77, 0, 1, 2)`, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY},
		{"a message of nobody", `INSERT INTO messages VALUES (9, 77, 3, 'n', 't', 1)`, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY},
		{"a message in no dialog", `INSERT INTO messages VALUES (9, 1, 77, 'n', 't', 1)`, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY},
		{"a dialog that is half active", `INSERT INTO dialogs VALUES (9, 1, 2, 1, NULL)`, sqlite3.SQLITE_CONSTRAINT_CHECK},
		{"a closed dialog without its end", `INSERT INTO dialogs VALUES (9, 1, 0, 1, NULL)`, sqlite3.SQLITE_CONSTRAINT_CHECK},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := conn.ExecContext(t.Context(), c.query)
			if se, ok := errors.AsType[*sqlite.Error](err); !ok || se.Code() != c.code {
				t.Errorf("%s\n%v, want a refusal with code %d", c.query, err, c.code)
			}
		})
	}
}

// Every query finds its rows by key: nothing is walked, and no index is built for
// the occasion.
func TestNoQueryWalksATable(t *testing.T) {
	conn := openFile(t, tables)
	text, err := os.ReadFile("queries.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range strings.Split(string(text), "-- name: ")[1:] {
		name, query, _ := strings.Cut(query, "\n")
		for strings.Contains(query, "sqlc.arg(") {
			before, after, _ := strings.Cut(query, "sqlc.arg(")
			arg, rest, _ := strings.Cut(after, ")")
			query = before + ":" + arg + rest
		}
		for _, line := range plan(t, conn, query) {
			if strings.Contains(line, "SCAN") || strings.Contains(line, "AUTOMATIC") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// plan returns the lines of EXPLAIN QUERY PLAN; the parameters are left NULL.
func plan(t testing.TB, conn *sql.Conn, query string) []string {
	t.Helper()
	var lines []string
	var args []any
	for _, name := range []string{"client", "dialog", "message_id", "text", "received_at", "external_client_id", "client_phone", "opened_at", "closed_at"} {
		if strings.Contains(query, ":"+name) {
			args = append(args, sql.Named(name, nil))
		}
	}
	for _, row := range read(t, conn, "EXPLAIN QUERY PLAN "+query, args...) {
		lines = append(lines, strings.Join(strings.Fields(row)[3:], " "))
	}
	return lines
}

// BenchmarkWrite is the message function alone, in groups of 128, on 1,000 known
// clients and message ids that rise.
func BenchmarkWrite(b *testing.B) {
	conn := openFile(b, tables)
	stmts := &prepared{conn: conn, kept: map[string]*sql.Stmt{}}
	rows := q.New(stmts)
	mustExec(b, conn, "BEGIN IMMEDIATE")
	n := 0
	for b.Loop() {
		ev, m := sample(fmt.Sprintf("client%026d", n*7919%1000), fmt.Sprintf("m-%012d", n))
		if _, err := write(b.Context(), rows, ev, m); err != nil {
			b.Fatal(err)
		}
		if n++; n%128 == 0 {
			mustExec(b, conn, "COMMIT")
			mustExec(b, conn, "BEGIN IMMEDIATE")
		}
	}
	mustExec(b, conn, "COMMIT")
}

// prepared keeps statements by their text, as the engine's Tx does.
type prepared struct {
	conn *sql.Conn
	kept map[string]*sql.Stmt
}

func (p *prepared) stmt(ctx context.Context, query string) *sql.Stmt {
	if p.kept[query] == nil {
		s, err := p.conn.PrepareContext(ctx, query)
		if err != nil {
			panic(err)
		}
		p.kept[query] = s
	}
	return p.kept[query]
}

func (p *prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return p.stmt(ctx, query).Exec(args...)
}

func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.stmt(ctx, query).Query(args...)
}

func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return p.stmt(ctx, query).QueryRow(args...)
}

func (p *prepared) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errors.New("not here")
}
