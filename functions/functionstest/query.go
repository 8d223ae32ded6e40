package functionstest

import "context"

// Query reads the engine's database, its own tables and the functions', and returns
// the rows. A value is an int64, float64, string, []byte or nil.
func (e *Engine) Query(query string, args ...any) [][]any {
	e.t.Helper()
	rows, err := e.db.Query(context.WithoutCancel(e.t.Context()), query, args...)
	if err != nil {
		e.t.Fatalf("functionstest: %s: %v", query, err)
	}
	return rows
}
