package functionstest_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"inturn/db"
	"inturn/db/dbtest"
	"inturn/db/sqlite"
	"inturn/functions"
	"inturn/functions/functionstest"
)

// An engine that db/dbtest exercises runs functions too.
var _ functionstest.Storage = dbtest.Engine(nil)

// otherEngine is a database of somebody else's engine. It writes down how it is used, and
// finds something in the end.
type otherEngine struct {
	functionstest.Storage
	used []string
}

func (o *otherEngine) Open(ctx context.Context, set *functions.Set, log *slog.Logger) (functionstest.Storage, error) {
	d, err := sqlite.Open(ctx, sqlite.Options{Path: ":memory:", Tables: set.Tables(), Log: log})
	if err != nil {
		return nil, err
	}
	o.Storage = d
	o.used = append(o.used, fmt.Sprintf("opened with %d tables", len(set.Tables())))
	return o, nil
}

func (o *otherEngine) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	o.used = append(o.used, "append "+ev.MessageID)
	return o.Storage.Append(ctx, ev)
}

func (o *otherEngine) Close() error {
	o.used = append(o.used, "closed")
	return o.Storage.Close()
}

func (o *otherEngine) Check(context.Context) ([]db.Violation, error) {
	o.used = append(o.used, "checked")
	return []db.Violation{{Kind: "found", Detail: "by the engine"}}, nil
}

// failing writes down what a test failed with.
type failing struct {
	testing.TB
	failures []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}
func (f *failing) Helper()        {}
func (f *failing) Cleanup(func()) {}

func TestOnAnotherEngine(t *testing.T) {
	other, f := &otherEngine{}, &failing{TB: t}
	e := functionstest.OpenOn(f, other, keep)
	if got := e.Do(event("anna", "1", "hello")); got.State != db.Done || string(got.Result.Output) != `{"note":1}` {
		t.Errorf("settled as %s, %+v", got.State, got.Result)
	}
	e.Close()
	if got, want := strings.Join(other.used, ", "), "opened with 1 tables, append 1, closed, checked"; got != want {
		t.Errorf("the engine was %s, want %s", got, want)
	}
	if got, want := strings.Join(f.failures, "\n"), "functionstest: check: found: by the engine"; got != want {
		t.Errorf("the test failed with %q, want %q", got, want)
	}
}
