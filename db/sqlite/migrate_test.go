package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite/file"
)

// next is the migrations and further ones.
func next(steps ...string) []string { return append(slices.Clone(migrations), steps...) }

// copyOf is the name of the copy of a file of this version.
func copyOf(path string) string { return fmt.Sprintf("%s.v%d", path, file.SchemaVersion) }

func TestMigration(t *testing.T) {
	t.Run("with a copy", func(t *testing.T) {
		path := made(t)
		old := []byte("an older copy of this version")
		if err := os.WriteFile(copyOf(path), old, 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, options(t, path))
		steps := next("ALTER TABLE accounts ADD COLUMN later INTEGER NOT NULL DEFAULT 0", "CREATE TABLE other (id INTEGER PRIMARY KEY) STRICT")
		if err := d.w.migrator().migrate(path, file.SchemaVersion, steps); err != nil {
			t.Fatal(err)
		}
		wantRows(t, d, "SELECT client_id, later, (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM other) FROM accounts",
			fmt.Sprintf("c 0 %d 0", file.SchemaVersion+2))
		d.Close()
		wantSound(t, copyOf(path)) // the file as it was, of the old version
		if info, err := os.Stat(copyOf(path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy: %v, %v", info, err)
		}
		if _, err := os.Stat(copyOf(path) + ".part"); err == nil {
			t.Error("the part is left")
		}
	})
	t.Run("a step that fails", func(t *testing.T) {
		path := made(t)
		d := open(t, options(t, path))
		for _, bad := range []string{"ALTER TABLE nowhere ADD COLUMN x", "CREATE TABLE a (b); COMMIT", "COMMIT; BEGIN"} {
			err := d.w.migrator().migrate(path, file.SchemaVersion, next("ALTER TABLE accounts ADD COLUMN later INTEGER", bad))
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("migrate to version %d", file.SchemaVersion+2)) {
				t.Errorf("%s: %v", bad, err)
			}
		}
		wantRows(t, d, "SELECT count(*), (SELECT user_version FROM pragma_user_version) FROM pragma_table_info('accounts') WHERE name = 'later'",
			fmt.Sprint("0 ", file.SchemaVersion))
		appendEvent(t, d, event("after", "m"))
		d.Close()
		wantSound(t, path)
	})
	t.Run("without the file", func(t *testing.T) {
		path := made(t)
		d := open(t, options(t, path))
		other := raw(t, path)
		run(t, other, "UPDATE owner SET epoch = 9")
		if err := d.w.migrator().migrate(path, file.SchemaVersion, next("CREATE TABLE a (b)")); !errors.Is(err, db.ErrFenced) {
			t.Errorf("got %v", err)
		}
	})
}

// A file of each older version becomes, with all its rows, what a new file is.
func TestMigrationOfOldFiles(t *testing.T) {
	olds, err := filepath.Glob("testdata/v*.sql")
	if err != nil || len(olds) != file.SchemaVersion-1 {
		t.Fatalf("%d old schemas, want one of each version before %d (%v)", len(olds), file.SchemaVersion, err)
	}
	const shape = `SELECT m.type, m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema m, pragma_table_xinfo(m.name) c
		UNION ALL SELECT 'index of ' || m.name, group_concat(c.name), i."unique", i.origin, i.partial, NULL, NULL
		FROM sqlite_schema m, pragma_index_list(m.name) i, pragma_index_xinfo(i.name) c WHERE m.type = 'table' AND c.key GROUP BY m.name, i.name
		ORDER BY 1, 2, 3`
	const texts = "SELECT name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger') ORDER BY name"
	fresh := open(t, options(t, tempFile(t)))
	want, wantTexts := rows(t, fresh, shape), words(rows(t, fresh, texts))
	for _, old := range olds {
		t.Run(filepath.Base(old), func(t *testing.T) {
			schema, err := os.ReadFile(old)
			if err != nil {
				t.Fatal(err)
			}
			path := tempFile(t)
			conn := raw(t, path)
			run(t, conn, "PRAGMA journal_mode = WAL; "+string(schema))
			conn.Close()

			d := open(t, options(t, path))
			if got := rows(t, d, shape); !slices.Equal(got, want) {
				t.Errorf("the file is\n%s\na new one is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if got := words(rows(t, d, texts)); !slices.Equal(got, wantTexts) {
				t.Errorf("its views and triggers are\n%s\nthose of a new one\n%s", strings.Join(got, "\n"), strings.Join(wantTexts, "\n"))
			}
			events, err := d.Events(t.Context(), db.Filter{ClientID: "a", Limit: 10})
			if err != nil || len(events) != 2 || events[0].Seq != 1 || events[0].State != db.Done || events[1].Seq != 3 || events[1].State != db.Pending {
				t.Errorf("%+v, %v", events, err)
			}
			if r, err := d.Append(t.Context(), events[1].Event); err != nil || !r.Duplicate || r.Seq != 3 {
				t.Errorf("a repeat: %+v, %v", r, err)
			}
			if ev := appendEvent(t, d, event("a", "new")); ev.Seq != 5 {
				t.Errorf("the next event has seq %d", ev.Seq)
			}
			backlog, _, unclean := d.Backlog()
			if len(backlog) != 2 || !unclean {
				t.Errorf("%+v, %v", backlog, unclean)
			}
			d.Close()
			wantSound(t, path)
		})
	}
}

// words returns the lines with one blank between words.
func words(lines []string) []string {
	var list []string
	for _, line := range lines {
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	return list
}
