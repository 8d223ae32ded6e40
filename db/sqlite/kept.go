package sqlite

import "database/sql"

// keptStatements are the statements of housekeeping, prepared when they first run and
// kept by their text.
type keptStatements struct {
	conn   *sql.Conn
	byText map[string]*sql.Stmt
}

// exec runs a statement.
func (k *keptStatements) exec(text string, args ...any) error {
	stmt, err := k.get(text)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(background, args...)
	return err
}

// get returns the statement of a text.
func (k *keptStatements) get(text string) (*sql.Stmt, error) {
	if stmt, ok := k.byText[text]; ok {
		return stmt, nil
	}
	stmt, err := k.conn.PrepareContext(background, text)
	if err == nil {
		k.byText[text] = stmt
	}
	return stmt, err
}

func (k *keptStatements) close() {
	for _, s := range k.byText {
		s.Close()
	}
}
