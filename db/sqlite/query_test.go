package sqlite

import (
	"fmt"
	"testing"
)

func TestQueryReadsAndWritesNothing(t *testing.T) {
	forEach(t, func(t *testing.T, d *DB) {
		appendEvent(t, d, event("a", "1"))
		got, err := d.Query(t.Context(), `SELECT seq, client_id, NULL FROM outbox WHERE client_id = ?`, "a")
		if err != nil || fmt.Sprint(got) != "[[1 a <nil>]]" {
			t.Errorf("rows %v, error %v", got, err)
		}
		if _, err := d.Query(t.Context(), `DELETE FROM outbox`); err == nil {
			t.Error("a write was taken")
		}
		appendEvent(t, d, event("a", "2")) // the writer can write again
		wantRows(t, d, `SELECT count(*) FROM outbox`, "2")
	})
}
