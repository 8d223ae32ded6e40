package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

// Bounds of SQL.
const (
	sqlTime     = readTime
	maxSQLBytes = 4 << 20 // of all values
	maxSQLValue = 8 << 20 // of one value while it is computed
)

// SQL runs one statement that only reads, and returns up to limit of its rows. Errors: *db.SQLError
// for what is no such statement, db.ErrOverloaded where two lists are being read already, and that
// of ctx or its own bound of 10 s, at which the statement is interrupted.
func (r *reader) SQL(ctx context.Context, text string, limit int) (rows db.SQLRows, err error) {
	if r.memory != nil {
		return rows, errors.New("a database in memory takes no statements")
	}
	ctx, cancel := context.WithTimeout(ctx, sqlTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return rows, fmt.Errorf("sql: %w", err)
	}
	defer release()
	reader, err := r.readers.Conn(ctx)
	if err != nil {
		return rows, fmt.Errorf("sql: %w", err)
	}
	defer reader.Close()
	restore, err := conn.LimitValues(reader, maxSQLValue)
	if err != nil {
		return rows, fmt.Errorf("sql: %w", err)
	}
	defer restore()
	if err := conn.CheckRead(ctx, reader, text); err != nil {
		return rows, sqlError(ctx, err)
	}
	rows, err = readSQL(ctx, reader, text, limit)
	return rows, sqlError(ctx, err)
}

func readSQL(ctx context.Context, reader *sql.Conn, text string, limit int) (all db.SQLRows, err error) {
	rows, err := reader.QueryContext(ctx, text)
	if err != nil {
		return all, err
	}
	defer rows.Close()
	if all.Columns, err = rows.Columns(); err != nil {
		return all, err
	}
	for bytes := 0; rows.Next(); {
		if all.More = len(all.Rows) == limit || bytes > maxSQLBytes; all.More {
			return all, nil
		}
		row, into := make([]any, len(all.Columns)), make([]any, len(all.Columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return all, err
		}
		for i, value := range row {
			switch value := value.(type) {
			case string:
				bytes += len(value)
			case []byte:
				bytes += len(value)
			case time.Time: // of a column that is declared so
				row[i] = value.UTC().Format(time.RFC3339Nano)
			}
			bytes += 16
		}
		all.Rows = append(all.Rows, row)
	}
	return all, rows.Err()
}

// sqlError sorts the errors of a statement.
func sqlError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("sql: %w", ctx.Err())
	case conn.IsRefusal(err):
		return &db.SQLError{Reason: "only one statement that reads is run: " + err.Error()}
	}
	if conn.KindOf(err) == conn.Corrupt {
		return fmt.Errorf("sql: %w", conn.HintCorrupt(err))
	}
	return &db.SQLError{Reason: err.Error()}
}
