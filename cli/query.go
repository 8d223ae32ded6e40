package cli

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"inturn/db/sqlite/file"
)

// Query runs one reading SQL statement on the file, also while the server runs.
type Query struct {
	SQL     string        `arg:"" name:"sql" help:"The statement, such as 'SELECT * FROM events LIMIT 10'."`
	DB      string        `name:"db" help:"Database file, or the address of a PostgreSQL." default:"data/inturn.db" env:"INTURN_DB"`
	Schema  string        `name:"db-schema" help:"Schema of PostgreSQL." default:"inturn" env:"INTURN_DB_SCHEMA"`
	JSON    bool          `help:"Print a JSON array of objects." xor:"format" env:"INTURN_JSON"`
	CSV     bool          `help:"Print CSV with a header line; NULL is empty." xor:"format" env:"INTURN_CSV"`
	Timeout time.Duration `help:"Give up after this long: while a query reads, the server's write-ahead log can't be shortened. 0 for no limit." default:"5m" env:"INTURN_TIMEOUT"`
}

// Validate returns an error if a flag is out of its bounds. kong calls it.
func (q Query) Validate() error {
	if q.Timeout < 0 {
		return errors.New("--timeout must not be negative; 0 for no limit")
	}
	return nil
}

// Run prints the rows while they are read.
func (q Query) Run(ctx context.Context, out IO, pg Postgres) error {
	if !IsPostgres(q.DB) {
		if err := existingFile(q.DB); err != nil {
			return fmt.Errorf("query: %w", err)
		}
	}
	if q.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, q.Timeout, &Hint{
			Err:  fmt.Errorf("query: no end after %v", q.Timeout),
			Hint: "ask for less, or allow more with --timeout",
		})
		defer cancel()
	}
	if IsPostgres(q.DB) {
		to, buffered := q.writer(out)
		err := pg.Read(ctx, q.DB, q.Schema, q.SQL, to.header, to.row)
		if err == nil {
			err = to.end()
		}
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if err != nil {
			err = explainPostgres(fmt.Errorf("query: %w", err))
		}
		return errors.Join(err, buffered.Flush())
	}
	handle, err := file.OpenReadOnly(ctx, q.DB)
	if err != nil {
		if ctx.Err() != nil { // the time was over
			return context.Cause(ctx)
		}
		err = fmt.Errorf("query: %w", err)
		if explained := ExplainFile(err); explained != err {
			return explained
		}
		return &Hint{Err: err, Hint: "name inturn's own file with --db or INTURN_DB; it and its folder must be readable for this user"}
	}
	defer handle.Close()
	if err := file.CheckRead(ctx, handle, q.SQL); err != nil {
		return queryError(ctx, err)
	}

	to, buffered := q.writer(out)
	err = copyRows(ctx, handle.DB, q.SQL, to)
	// Rows that were read before an error are shown.
	return errors.Join(queryError(ctx, err), buffered.Flush())
}

// writer returns what writes the rows, and the buffer behind it.
func (q *Query) writer(out IO) (rowWriter, *bufio.Writer) {
	buffered := bufio.NewWriterSize(out.Out, 64<<10)
	switch {
	case q.JSON:
		return &jsonRows{w: buffered}, buffered
	case q.CSV:
		return newCSVRows(buffered, isTerminal(out.Out)), buffered
	default:
		return newTableRows(buffered), buffered
	}
}

// rowWriter writes one kind of output. The values are those that database/sql
// gives for SQLite: nil, int64, float64, string, []byte, bool, time.Time.
type rowWriter interface {
	header(columns []string) error
	row(values []any) error
	end() error
}

func copyRows(ctx context.Context, handle *sql.DB, query string, to rowWriter) error {
	rows, err := handle.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	if err := to.header(columns); err != nil {
		return err
	}
	values := make([]any, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := to.row(values); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return to.end()
}

// sqliteError is the result code for what is wrong with the statement itself
// (https://sqlite.org/rescode.html).
const sqliteError = 1

func queryError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	coded, ok := errors.AsType[interface {
		error
		Code() int
	}](err)
	switch {
	case errors.Is(err, file.ErrNotReading):
		return &Hint{
			Err:  errors.New("query: only reading is allowed"),
			Hint: "one SELECT, WITH … SELECT, VALUES or EXPLAIN; tables are listed by SELECT * FROM sqlite_schema",
		}
	case errors.Is(err, file.ErrNoStatement):
		return &Hint{Err: fmt.Errorf("query: %w", err), Hint: "try: inturn query 'SELECT * FROM events LIMIT 10'"}
	case errors.Is(err, file.ErrManyStatements):
		return &Hint{Err: fmt.Errorf("query: %w", err), Hint: "run one statement at a time"}
	case ok && coded.Code() == sqliteError:
		text := strings.TrimSuffix(strings.TrimPrefix(coded.Error(), "SQL logic error: "), " (1)")
		return &Hint{Err: errors.New("query: " + text), Hint: "tables and their columns are listed by SELECT name, sql FROM sqlite_schema"}
	}
	return fmt.Errorf("query: %w", err)
}
