package sqlite

import (
	"context"
	"errors"
	"fmt"
)

// Query reads rows by SQL of the caller's, all at once: it is for tests and tools. A
// value is an int64, float64, string, []byte or nil. Writes are refused.
func (r *reader) Query(ctx context.Context, query string, args ...any) (all [][]any, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r.guard.Lock()
	defer r.guard.Unlock()
	if r.memory != nil { // the readers' setting, for as long as the connection is lent
		if err := r.memory.Exec("PRAGMA query_only = 1"); err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		defer func() { err = errors.Join(err, r.memory.Exec("PRAGMA query_only = 0")) }()
	}
	rows, err := r.queryer().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("query: %w", err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return all, nil
}
