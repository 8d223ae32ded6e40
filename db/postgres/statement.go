package postgres

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// texts are the statements of effects, prepared once and kept by their text.
type texts struct {
	byText map[string]*statement
	schema string
	engine map[string]bool // the engine's tables and views, which no effect may write
	n      int             // of names given
}

// maxTexts bounds the prepared statements: a text may be made of values.
const maxTexts = 512

// statement is a prepared statement of an effect's.
type statement struct {
	name   string
	params []uint32 // their types
	names  []string // of parameters that have names
	insert bool     // it returns the identity of the new row
}

// prepare prepares a text, and refuses what an effect may not run.
func (t *texts) prepare(w *writer, text string) (*statement, error) {
	if s, ok := t.byText[text]; ok {
		return s, nil
	}
	if err := checkVerb(text); err != nil {
		return nil, refusal{fmt.Errorf("an effect's statement: %w: %s", err, bounded(text))}
	}
	native, names := rewrite(text)
	s := &statement{name: fmt.Sprintf("effect_%d", t.n), names: names}
	t.n++
	if column := t.identity(w, native); column != "" {
		native += "\nRETURNING " + pgx.Identifier{column}.Sanitize()
		s.insert = true
	}
	d, err := w.conn.Prepare(background, s.name, native)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bounded(text))
	}
	s.params = d.ParamOIDs
	if err := t.inspect(w, s, native); err != nil {
		return nil, err
	}
	if len(t.byText) >= maxTexts {
		for old, s := range t.byText {
			delete(t.byText, old)
			if err := w.conn.Deallocate(background, s.name); err != nil {
				return nil, err
			}
			break
		}
	}
	t.byText[text] = s
	return s, nil
}

var verbs = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "MERGE"}

var errVerb = errors.New("it may be a SELECT, INSERT, UPDATE, DELETE, MERGE, WITH or VALUES")

// checkVerb refuses statements of transactions, of settings, of roles, and DDL.
func checkVerb(text string) error {
	word := strings.ToUpper(firstWord(text))
	if !slices.Contains(verbs, word) {
		return errVerb
	}
	return nil
}

// inspect refuses a statement whose plan writes a table of the engine's, or which calls what
// changes the session.
func (t *texts) inspect(w *writer, s *statement, native string) error {
	if lower := strings.ToLower(native); strings.Contains(lower, "set_config") || strings.Contains(lower, "pg_advisory") || strings.Contains(lower, "pg_terminate") {
		return refusal{fmt.Errorf("an effect's statement: it may not change the session: %s", bounded(native))}
	}
	nulls := strings.TrimSuffix(strings.Repeat("NULL, ", len(s.params)), ", ")
	if nulls != "" {
		nulls = "(" + nulls + ")"
	}
	var plan []byte
	rows, err := w.conn.Query(background, "EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE "+pgx.Identifier{s.name}.Sanitize()+nulls, pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		for rows.Next() {
			err = errors.Join(err, rows.Scan(&plan))
		}
		err = errors.Join(err, rows.Err())
	}
	if err != nil {
		return fmt.Errorf("inspect an effect's statement: %w", err)
	}
	var tree any
	if err := json.Unmarshal(plan, &tree); err != nil {
		return refusal{fmt.Errorf("inspect an effect's statement: %w", err)}
	}
	if table := t.written(tree); table != "" {
		return refusal{fmt.Errorf("an effect's statement: it writes %s, which is no table of a function: %s", table, bounded(native))}
	}
	return nil
}

// written returns a table that a plan writes and that is no function's, "" for none.
func (t *texts) written(node any) string {
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			if table := t.written(n); table != "" {
				return table
			}
		}
	case map[string]any:
		if kind, _ := node["Node Type"].(string); kind == "ModifyTable" {
			if table := t.foreign(node); table != "" {
				return table
			}
		}
		for _, n := range node {
			if table := t.written(n); table != "" {
				return table
			}
		}
	}
	return ""
}

// foreign returns the table that the node writes, if it is the engine's or another schema's.
func (t *texts) foreign(node map[string]any) string {
	targets, _ := node["Target Tables"].([]any) // where there are several
	for _, target := range append(targets, node) {
		target, _ := target.(map[string]any)
		name, named := target["Relation Name"].(string)
		if schema, _ := target["Schema"].(string); named && (schema != t.schema || t.engine[name]) {
			return name
		}
	}
	return ""
}

var insertInto = regexp.MustCompile(`(?is)^\s*INSERT\s+INTO\s+("[^"]+"|\w+)`)

// identity returns the identity column of the table that an INSERT without RETURNING writes:
// its value is what LastInsertId returns. "" is none.
func (t *texts) identity(w *writer, native string) string {
	bare := code(native)
	m := insertInto.FindStringSubmatch(bare)
	if m == nil || strings.Contains(strings.ToUpper(bare), "RETURNING") {
		return ""
	}
	var column string
	err := w.conn.QueryRow(background, `SELECT coalesce((SELECT attname::text FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attidentity <> '' AND NOT attisdropped), '')`, m[1]).Scan(&column)
	if err != nil {
		return ""
	}
	return column
}

// bounded cuts a statement's text for an error.
func bounded(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}

// execution is one run of an effect's statement.
type execution struct {
	values []driver.Value
	named  map[string]driver.Value
	insert bool
	found  *found
}

// found is what a statement returned.
type found struct {
	columns []string
	rows    [][]driver.Value
	changed int64
}

// newExecution converts the arguments as database/sql does.
func newExecution(query string, args []any) (*execution, error) {
	x := &execution{values: make([]driver.Value, 0, len(args)), found: &found{}}
	for i, arg := range args {
		name := ""
		if n, ok := arg.(sql.NamedArg); ok {
			name, arg = n.Name, n.Value
		}
		v, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d of %s: %w", i+1, bounded(query), err)
		}
		if name == "" {
			x.values = append(x.values, v)
			continue
		}
		if x.named == nil {
			x.named = map[string]driver.Value{}
		}
		x.named[name] = v
	}
	return x, nil
}

// call makes the call of a statement with the execution's arguments.
func (x *execution) call(s *statement) (*call, error) {
	values := x.values
	for _, n := range s.names[min(len(values), len(s.names)):] {
		v, ok := x.named[n]
		if !ok {
			return nil, refusal{fmt.Errorf("the statement's parameter %q has no argument", n)}
		}
		values = append(values, v)
	}
	if len(values) < len(s.params) {
		return nil, refusal{fmt.Errorf("the statement has %d parameters, and there are %d arguments", len(s.params), len(values))}
	}
	args := make([]any, 0, len(s.params))
	for i, oid := range s.params {
		args = append(args, text(values[i], oid))
	}
	c := &call{text: s.name, args: args}
	c.read = func(rows pgx.Rows) error { return x.read(rows) }
	x.insert = s.insert
	return c, nil
}

// text returns a value as PostgreSQL reads it as the type oid.
func text(v driver.Value, oid uint32) any {
	switch v := v.(type) {
	case int64:
		if oid == pgtype.BoolOID {
			return strconv.FormatBool(v != 0)
		}
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		if oid == pgtype.Int8OID || oid == pgtype.Int4OID || oid == pgtype.Int2OID {
			if v {
				return "1"
			}
			return "0"
		}
		return strconv.FormatBool(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []byte:
		if oid != pgtype.ByteaOID {
			return string(v)
		}
		return v
	}
	return v
}

func (x *execution) read(rows pgx.Rows) error {
	fields, types := rows.FieldDescriptions(), rows.Conn().TypeMap()
	for _, f := range fields {
		x.found.columns = append(x.found.columns, f.Name)
	}
	for rows.Next() {
		row := make([]driver.Value, len(fields))
		for i, raw := range rows.RawValues() {
			var err error
			if row[i], err = value(types, &fields[i], raw); err != nil {
				return err
			}
		}
		x.found.rows = append(x.found.rows, row)
	}
	x.found.changed = rows.CommandTag().RowsAffected()
	return rows.Err()
}

// value reads a value as SQLite would give it: a boolean is 0 or 1, and what count and sum of
// bigints return is a number.
func value(types *pgtype.Map, f *pgconn.FieldDescription, raw []byte) (driver.Value, error) {
	t, ok := types.TypeForOID(f.DataTypeOID)
	if raw == nil {
		return nil, nil
	}
	if !ok {
		return string(raw), nil
	}
	v, err := t.Codec.DecodeDatabaseSQLValue(types, f.DataTypeOID, f.Format, raw)
	switch typed := v.(type) {
	case bool:
		if typed {
			return int64(1), err
		}
		return int64(0), err
	case string:
		if f.DataTypeOID != pgtype.NumericOID {
			return v, err
		}
		if n, err := strconv.ParseInt(typed, 10, 64); err == nil {
			return n, nil
		}
		return strconv.ParseFloat(typed, 64)
	}
	return v, err
}

// result is the sql.Result of the execution.
func (x *execution) result() sql.Result {
	r := result{changed: x.found.changed, insert: x.insert}
	if x.insert && len(x.found.rows) > 0 {
		r.id, _ = x.found.rows[len(x.found.rows)-1][0].(int64)
	}
	return r
}

type result struct {
	id, changed int64
	insert      bool
}

// LastInsertId returns the identity of the new row, 0 where none was inserted.
func (r result) LastInsertId() (int64, error) {
	if !r.insert {
		return 0, errors.New("the statement is no INSERT into a table with an identity column: use RETURNING")
	}
	return r.id, nil
}

func (r result) RowsAffected() (int64, error) { return r.changed, nil }
