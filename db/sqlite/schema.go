package sqlite

import (
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"inturn/db/sqlite/internal/conn"
)

// schema makes the tables of a new file, of version file.SchemaVersion.
//
//go:embed schema.sql
var schema string

// engineTables returns the names, in small letters, of the tables and views that schema
// makes, as SQLite has parsed it: no statement of an effect may write to one.
func engineTables() (names map[string]bool, err error) {
	pool, err := sql.Open("sqlite", conn.MemoryDSN())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	if _, err := pool.ExecContext(background, schema); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	rows, err := pool.QueryContext(background, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names = map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names[strings.ToLower(name)] = true
	}
	return names, rows.Err()
}

// effectsMayWrite returns which tables the statements of effects may write: all but the
// engine's and SQLite's own.
func effectsMayWrite() (func(table string) bool, error) {
	engine, err := engineTables()
	return func(table string) bool {
		table = strings.ToLower(table)
		return !engine[table] && !strings.HasPrefix(table, "sqlite_")
	}, err
}
