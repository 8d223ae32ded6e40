package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"inturn/db"
)

// tables runs one migration of a function's tables.
func (m migrator) tables(t db.Migration) error {
	before, err := m.references()
	if err != nil {
		return err
	}
	if err := m.conn.Exec(t.SQL); err != nil {
		return err
	}
	if !m.conn.InTransaction() {
		return errors.New("the SQL must not end the transaction")
	}
	after, err := m.references()
	if err != nil {
		return err
	}
	for reference := range after {
		if !before[reference] {
			return fmt.Errorf("%s: a foreign key on a table of the engine stops retention and erasure; keep the seq, or client_id and message_id, as plain columns", reference)
		}
	}
	return nil
}

// references returns the foreign keys of functions' tables on the engine's, each as a text
// for people.
func (m migrator) references() (map[string]bool, error) {
	engine, err := engineTables()
	if err != nil {
		return nil, err
	}
	rows, err := m.conn.SQL.QueryContext(background, `SELECT s.name, f."from", f."table" FROM sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type = 'table'`)
	if err != nil {
		return nil, fmt.Errorf("read foreign keys: %w", err)
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var table, column, to string
		if err := rows.Scan(&table, &column, &to); err != nil {
			return nil, err
		}
		if engine[strings.ToLower(to)] && !engine[strings.ToLower(table)] {
			found[fmt.Sprintf("%s (%s) REFERENCES %s", table, column, to)] = true
		}
	}
	return found, rows.Err()
}
