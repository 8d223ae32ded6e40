package postgres_test

import (
	"context"
	"flag"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"inturn/db"
	"inturn/db/dbtest"
	"inturn/db/postgres"
	"inturn/db/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestConformance(t *testing.T) {
	server := pgtest.Get(t)
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue && os.Getenv("INTURN_LONG") == "" {
		_ = f.Value.Set("12") // a restart here is a schema that is copied
		t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
	}
	dbtest.Exercise(t, func(testing.TB, string) dbtest.Database { return &inSchema{server, server.Schema()} })
}

// inSchema is a database in a schema of its own.
type inSchema struct {
	server *pgtest.Server
	schema string
}

func (s *inSchema) Open(ctx context.Context, o dbtest.Options) (dbtest.Engine, error) {
	d, err := postgres.Open(ctx, postgres.Options{
		URL: s.server.URL(), Schema: s.schema, Tables: o.Tables, Erasures: o.Erasures, Check: o.Check, Log: o.Log,
		MaxPending: o.MaxPending, MaxAccountPending: o.MaxAccountPending, FlushBatch: o.Batch,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (s *inSchema) Check(ctx context.Context) ([]db.Violation, error) {
	return postgres.Verify(ctx, s.server.URL(), s.schema, nil)
}

// Crash copies what is committed: a server that goes on has nothing else of a node that was
// killed.
func (s *inSchema) Crash() (dbtest.Durable, error) {
	left := &inSchema{s.server, s.server.Schema()}
	return left, s.server.Copy(context.Background(), s.schema, left.schema)
}

// Steal does what a take-over commits first.
func (s *inSchema) Steal(context.Context) error {
	return s.server.Exec("UPDATE " + pgx.Identifier{s.schema, "writers"}.Sanitize() + " SET epoch = nextval('" + s.schema + ".epochs')")
}
