package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const oddValues = `SELECT 1 AS n, 2 AS n, 1.5 AS real, NULL AS empty, x'00ff' AS blob,
	'a' || char(27) || '[2J' || char(155) || char(10) || 'b' AS text, 9007199254740993 AS big, 9e999 AS inf, 'x"<y' AS quoted`

func TestQueryTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	out, written, _ := newIO()
	if err := (Query{SQL: oddValues, DB: path}).Run(t.Context(), out, Postgres{}); err != nil {
		t.Fatal(err)
	}
	want := "n  n  real  empty  blob  text                  big               inf   quoted\n" +
		`1  2  1.5   NULL     00ff  a\u001b[2J\u009b\nb  9007199254740993  +Inf  x"<y` + "\n"
	// The widths follow from the cells; what they are is tabwriter's matter.
	if got := strings.Join(strings.Fields(written.String()), " "); got != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", written, want)
	}
	written.Reset()
	if err := (Query{SQL: "SELECT * FROM events", DB: path}).Run(t.Context(), out, Postgres{}); err != nil || strings.Count(written.String(), "\n") != 1 {
		t.Errorf("no rows: %v\n%s", err, written)
	}
	written.Reset()
	if err := (Query{SQL: "SELECT printf('%.*c', 1000, 'x')", DB: path}).Run(t.Context(), out, Postgres{}); err != nil || strings.Count(written.String(), "x") != tableCell-1+1 {
		t.Errorf("a long cell: %v\n%s", err, written)
	}
}

func TestQueryJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	out, written, _ := newIO()
	if err := (Query{SQL: oddValues + " UNION ALL VALUES (3,4,5,6,7,8,9,10,11)", DB: path, JSON: true}).Run(t.Context(), out, Postgres{}); err != nil {
		t.Fatal(err)
	}
	want := `[
{"n":1,"n_2":2,"real":1.5,"empty":null,"blob":"00ff","text":"a\u001b[2J\u009b\nb","big":9007199254740993,"inf":"+Inf","quoted":"x\"<y"},
{"n":3,"n_2":4,"real":5,"empty":6,"blob":7,"text":8,"big":9,"inf":10,"quoted":11}
]
`
	if written.String() != want {
		t.Errorf("got\n%s\nwant\n%s", written, want)
	}
	var rows []map[string]any
	if err := json.Unmarshal(written.Bytes(), &rows); err != nil || rows[0]["text"] != "a\x1b[2J\u009b\nb" {
		t.Errorf("read back: %v, %v", err, rows)
	}
	written.Reset()
	if err := (Query{SQL: "SELECT * FROM events", DB: path, JSON: true}).Run(t.Context(), out, Postgres{}); err != nil || written.String() != "[]\n" {
		t.Errorf("no rows: %v, %q", err, written)
	}
}

func TestQueryCSV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	out, written, _ := newIO()
	if err := (Query{SQL: oddValues, DB: path, CSV: true}).Run(t.Context(), out, Postgres{}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(written).ReadAll()
	want := [][]string{
		{"n", "n", "real", "empty", "blob", "text", "big", "inf", "quoted"},
		{"1", "2", "1.5", "", "00ff", "a\x1b[2J\u009b\nb", "9007199254740993", "+Inf", `x"<y`},
	}
	if err != nil || fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("%v, got %q, want %q", err, rows, want)
	}
	var shown strings.Builder
	c := newCSVRows(&shown, true)
	if err := errors.Join(c.header([]string{"a"}), c.row([]any{"\x1b[2J"}), c.end()); err != nil || shown.String() != "a\n\\u001b[2J\n" {
		t.Errorf("on a terminal: %v, %q", err, shown.String())
	}
}

func TestUniqueNames(t *testing.T) {
	got := uniqueNames([]string{"a", "a", "a_2", "b", "a", "b"})
	if want := "[a a_3 a_2 b a_4 b_2]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJSONValue(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{true, "true"}, {math.Inf(-1), `"-Inf"`}, {int64(math.MinInt64), "-9223372036854775808"},
		{"\U000e0001\xff", `"\udb40\udc01\ufffd"`}, {[]byte{0xab}, `"ab"`},
		{time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), `"2026-01-02T03:04:05.000006Z"`},
	} {
		if got, err := jsonValue(c.in); err != nil || string(got) != c.want {
			t.Errorf("%v: %s, %v, want %s", c.in, got, err, c.want)
		}
	}
}

// Nothing is written by a query, whatever it begins with.
func TestQueryRefusesWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	handle := newFile(t, path)
	mustExec(t, handle, "INSERT INTO accounts (client_id) VALUES ('a')")
	out, _, _ := newIO()
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, statement := range []string{
		"VACUUM INTO '" + copied + "'",
		"-- SELECT\nVACUUM INTO '" + copied + "'",
		"SELECT 1; VACUUM INTO '" + copied + "'",
		"DELETE FROM accounts",
		"WITH x AS (SELECT 1) DELETE FROM accounts",
		"WITH x(c) AS (VALUES ('b')) INSERT INTO accounts (client_id) SELECT c FROM x",
		"SELECT 1; DELETE FROM accounts",
	} {
		err := Query{SQL: statement, DB: path}.Run(t.Context(), out, Postgres{})
		if _, ok := errors.AsType[*Hint](err); !ok {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if _, err := os.Stat(copied); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy was made: %v", err)
	}
	n := 0
	if err := handle.QueryRow("SELECT count(*) FROM accounts").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d accounts, %v", n, err)
	}
}

func TestQueryErrors(t *testing.T) {
	dir := t.TempDir()
	out, _, _ := newIO()
	for _, path := range []string{filepath.Join(dir, "none.db"), dir} {
		err := Query{SQL: "SELECT 1", DB: path}.Run(t.Context(), out, Postgres{})
		if _, ok := errors.AsType[*Hint](err); !ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file was made: %v", err)
	}
	path := filepath.Join(dir, "a.db")
	newFile(t, path)
	if err := (Query{SQL: "SELECT nothing", DB: path}).Run(t.Context(), out, Postgres{}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("no such column: %v", err)
	}
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Query{SQL: "SELECT * FROM events", DB: text}).Run(t.Context(), out, Postgres{}); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("not a database: %v", err)
	}
}

const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i AS j FROM n"

// A query without end gives its rows while it runs and stops when it is told to.
func TestQueryInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	for _, q := range []Query{{JSON: true}, {CSV: true}, {}} {
		q.SQL, q.DB = endless, path
		ctx, cancel := context.WithCancel(t.Context())
		read, write := io.Pipe()
		go func() {
			io.CopyN(io.Discard, read, 256<<10) // ends only if rows are streamed
			cancel()
			io.Copy(io.Discard, read)
		}()
		err := q.Run(ctx, IO{Out: write, Err: io.Discard}, Postgres{})
		write.Close()
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	for _, limit := range []time.Duration{50 * time.Millisecond, 1} { // the latter while the file is opened
		err := Query{SQL: "SELECT count(*) FROM (" + endless + ")", DB: path, Timeout: limit}.
			Run(t.Context(), IO{Out: io.Discard, Err: io.Discard}, Postgres{})
		if h, ok := errors.AsType[*Hint](err); !ok || !strings.Contains(h.Error(), "no end after "+limit.String()) {
			t.Errorf("timeout: %v", err)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestQueryOutputFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newFile(t, path)
	for _, q := range []Query{{JSON: true}, {CSV: true}, {}} {
		for _, q.SQL = range []string{endless, "SELECT 1"} {
			q.DB = path
			if err := q.Run(t.Context(), IO{Out: fullDisk{}}, Postgres{}); err == nil || !strings.Contains(err.Error(), "no space") {
				t.Errorf("%+v: %v", q, err)
			}
		}
	}
}
