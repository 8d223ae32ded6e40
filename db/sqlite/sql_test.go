package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"inturn/db"
)

func TestSQL(t *testing.T) {
	d := open(t, options(t, tempFile(t)))
	appendEvent(t, d, event("a", "1"))
	appendEvent(t, d, event("b", "1"))
	rows, err := d.SQL(t.Context(), "SELECT client_id, seq, NULL, 0.5, x'00' FROM outbox ORDER BY seq -- all", 1)
	if got := fmt.Sprint(rows); err != nil || got != "{[client_id seq NULL 0.5 x'00'] [[a 1 <nil> 0.5 [0]]] true}" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{
		"", "SELECT 1; SELECT 2", "SELECT", "DELETE FROM outbox", "PRAGMA query_only = 0", "ATTACH 'x' AS y", "VACUUM INTO 'x'", "BEGIN",
		"CREATE TEMP TABLE x (y)", "WITH x AS (SELECT 1) INSERT INTO outbox SELECT * FROM x", "SELECT load_extension('x')", "SELECT length(zeroblob(100000000))", "SELECT \x00",
	} {
		if _, err := d.SQL(t.Context(), bad, 1); !isSQLError(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// What was refused has left nothing on the connections that are read from.
	wantRows(t, d, "SELECT count(*), (SELECT length(zeroblob(100000000))) FROM outbox", "2 100000000")

	wide, err := d.SQL(t.Context(), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(1000000) FROM n", 1000)
	if err != nil || !wide.More || len(wide.Rows) > 6 {
		t.Errorf("%d rows, more %t, %v", len(wide.Rows), wide.More, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.SQL(ctx, "SELECT 1", 1); err == nil || isSQLError(err) {
		t.Error(err)
	}
	free := []func(){}
	for range maxLists {
		release, err := d.lists.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		free = append(free, release)
	}
	if _, err := d.SQL(ctx, "SELECT 1", 1); !errors.Is(err, db.ErrOverloaded) || strings.Contains(err.Error(), "SELECT") {
		t.Error(err)
	}
	for _, release := range free {
		release()
	}
}

func isSQLError(err error) bool {
	_, ok := errors.AsType[*db.SQLError](err)
	return ok
}
