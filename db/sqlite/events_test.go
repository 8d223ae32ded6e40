package sqlite

import (
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// Lists are read in their order, from the row that After names, whatever else is asked for:
// nothing is sorted, and an account's are found by its index.
func TestPlansOfEvents(t *testing.T) {
	d := smallBatches(t, tempFile(t))
	for _, id := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		appendEvent(t, d, event("a", id))
	}
	waitFlushed(t, d)
	appendEvent(t, d, event("a", "13"))
	now := time.Now()
	for _, f := range []db.Filter{
		{}, {After: 4}, {Type: "note"}, {RequestID: "r"}, {State: db.Pending}, {State: db.Dead}, {Since: now, Until: now.Add(time.Hour)},
		{Type: "note", RequestID: "r", State: db.Done, Since: now, Until: now.Add(time.Hour), After: 5},
	} {
		for _, newest := range []bool{false, true} {
			for _, client := range []string{"", "a"} {
				f.Newest, f.ClientID = newest, client
				for _, p := range d.parts(f) {
					from, order, args := p.query(f)
					plan := strings.Join(rows(t, d, "EXPLAIN QUERY PLAN SELECT o.payload FROM "+from+" ORDER BY "+order, args...), "\n")
					search := "SEARCH o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
					if strings.HasPrefix(p.from, "history") {
						search = "SEARCH h USING PRIMARY KEY (client_id=? AND seq>? AND seq<?)"
					}
					if !strings.Contains(plan, search) || strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN") {
						t.Errorf("%+v of %s:\n%s", f, p.from, plan)
					}
				}
			}
		}
	}
}
