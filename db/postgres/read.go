package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
)

// maxSQLBytes bounds the values that SQL returns.
const maxSQLBytes = 4 << 20

// SQL runs one statement that only reads, and returns up to limit of its rows. Errors:
// *db.SQLError for what is no such statement, db.ErrOverloaded where two lists are being read
// already, and that of ctx or its own bound of 10 s, at which the statement is interrupted.
func (r *reader) SQL(ctx context.Context, text string, limit int) (all db.SQLRows, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	release, err := r.lists.take(ctx)
	if err != nil {
		return all, fmt.Errorf("sql: %w", err)
	}
	defer release()
	bytes := 0
	row := func(values []any) error {
		if all.More = len(all.Rows) == limit || bytes > maxSQLBytes; all.More {
			return errEnough
		}
		row := make([]any, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case string:
				bytes += len(v)
			case []byte:
				bytes += len(v)
			}
			row[i] = v
			bytes += 16
			if at, ok := v.(time.Time); ok {
				row[i] = at.UTC().Format(time.RFC3339Nano)
			}
		}
		all.Rows = append(all.Rows, row)
		return nil
	}
	err = r.pool.with(ctx, func(c *pgx.Conn) error {
		return read(ctx, c, text, func(names []string) error { all.Columns = names; return nil }, row)
	})
	pe, wrong := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil, errors.Is(err, errEnough):
		return all, nil
	case ctx.Err() != nil:
		return all, fmt.Errorf("sql: %w", ctx.Err())
	case wrong:
		return all, &db.SQLError{Reason: pe.Message}
	}
	return all, fmt.Errorf("sql: %w", err)
}

var errEnough = errors.New("these are enough rows")

// Read runs a statement that reads, on a connection of its own whose transactions are read
// only, and calls header once and row for each row. A value is an int64, float64, string,
// []byte, time.Time or nil.
func Read(ctx context.Context, url, schema, query string, header func([]string) error, row func([]any) error) error {
	c, err := (&address{url: url, schema: schema}).connect(ctx, "default_transaction_read_only = on")
	if err != nil {
		return err
	}
	defer closeConn(c)
	return read(ctx, c, query, header, row)
}

// read is Read on a connection.
func read(ctx context.Context, c *pgx.Conn, query string, header func([]string) error, row func([]any) error) error {
	return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		fields, types := rows.FieldDescriptions(), c.TypeMap()
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.Name
		}
		if err := header(names); err != nil {
			return err
		}
		values := make([]any, len(fields))
		for rows.Next() {
			for i, raw := range rows.RawValues() {
				if values[i], err = value(types, &fields[i], raw); err != nil {
					return err
				}
			}
			if err := row(values); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}
