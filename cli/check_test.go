package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/sqlite"
)

// newEngineFile makes a file as the engine does, with one accepted event.
func newEngineFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.db")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Append(t.Context(), db.Event{ClientID: "a", MessageID: "m", Type: "work", Payload: []byte("{}")})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	path := newEngineFile(t)
	out, written, _ := newIO()
	if err := (Check{DB: path}).Run(t.Context(), out, nil, Postgres{}); err != nil {
		t.Fatal(err, written)
	}
	if want := "ok: 1 events of 1 accounts: 0 done, 0 dead, 1 pending\n"; written.String() != want {
		t.Errorf("got %q, want %q", written, want)
	}
	written.Reset()
	if err := (Check{DB: path, JSON: true}).Run(t.Context(), out, nil, Postgres{}); err != nil {
		t.Fatal(err)
	}
	if want := `{"ok":true,"counts":{"events":1,"accounts":1,"pending":1,"done":0,"dead":0},"violations":[]}` + "\n"; written.String() != want {
		t.Errorf("got %q, want %q", written, want)
	}
}

func TestCheckFindsViolations(t *testing.T) {
	path := newEngineFile(t)
	invariants := []db.Invariant{{Kind: "red-account", Query: "SELECT 'planted ' || char(27) || '[31m'"}}
	out, written, _ := newIO()
	err := Check{DB: path}.Run(t.Context(), out, invariants, Postgres{})
	if _, ok := errors.AsType[*Hint](err); !ok || !strings.Contains(err.Error(), "violations found: 1") {
		t.Errorf("error %v", err)
	}
	if want := "red-account: planted \\u001b[31m\n"; written.String() != want {
		t.Errorf("got %q, want %q", written, want)
	}
	written.Reset()
	if err := (Check{DB: path, JSON: true}).Run(t.Context(), out, invariants, Postgres{}); err == nil {
		t.Error("no error with --json")
	}
	if want := `{"ok":false,"violations":[{"kind":"red-account","detail":"planted \\u001b[31m"}]}` + "\n"; written.String() != want {
		t.Errorf("got %q, want %q", written, want)
	}
}

func TestCheckNoFile(t *testing.T) {
	out, written, _ := newIO()
	err := Check{DB: filepath.Join(t.TempDir(), "none.db")}.Run(t.Context(), out, nil, Postgres{})
	if _, ok := errors.AsType[*Hint](err); !ok || !strings.Contains(err.Error(), "there is no such file") || written.Len() > 0 {
		t.Errorf("%v, printed %q", err, written)
	}
}
