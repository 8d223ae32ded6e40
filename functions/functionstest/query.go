package functionstest

import (
	"context"
	"database/sql"
	"fmt"

	"inturn/db"
)

// Query reads the engine's database, its own tables and the functions', and returns
// the rows. A value is an int64, float64, string, []byte or nil.
func (e *Engine) Query(query string, args ...any) [][]any {
	e.t.Helper()
	rows, err := e.query(context.WithoutCancel(e.t.Context()), query, args...)
	if err != nil {
		e.t.Fatalf("functionstest: %s: %v", query, err)
	}
	return rows
}

// memoryReader reads a database in memory, which has only the one connection.
type memoryReader interface {
	Query(ctx context.Context, query string, args ...any) ([][]any, error)
}

func (e *Engine) query(ctx context.Context, query string, args ...any) ([][]any, error) {
	if r, ok := any(e.db).(memoryReader); ok {
		return r.Query(ctx, query, args...)
	}
	if e.path == ":memory:" {
		return nil, fmt.Errorf("the database in memory can't be read")
	}
	pool, err := db.OpenReadOnly(ctx, e.path)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return readAll(rows)
}

func readAll(rows *sql.Rows) ([][]any, error) {
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]any
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}
