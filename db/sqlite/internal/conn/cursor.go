package conn

import (
	"database/sql/driver"
	"io"
	"math"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Cursor is the rows of one run of an effect's statement. What it returns is what the
// driver's rows return.
type Cursor struct {
	s      *Stmt
	rc     int32 // of the last step
	begun  bool  // Next was called
	closed bool
	err    error
}

// Query runs s up to its first row. The handle is held until it returns.
func (s *Stmt) Query(values []Value) (*Cursor, error) {
	// Another statement may run before these rows end.
	if err := s.bind(values, passes); err != nil {
		return nil, err
	}
	rc := sqlite3.Xsqlite3_step(s.h.tls, s.p)
	if rc != sqlite3.SQLITE_ROW && rc != sqlite3.SQLITE_DONE {
		err := s.h.failure(rc)
		s.reset()
		return nil, err
	}
	s.describe()
	s.Open = true
	return &Cursor{s: s, rc: rc}, nil
}

// reset lets go of the rows and of the values.
func (s *Stmt) reset() int32 {
	rc := sqlite3.Xsqlite3_reset(s.h.tls, s.p)
	sqlite3.Xsqlite3_clear_bindings(s.h.tls, s.p)
	return rc
}

// describe reads the columns, anew where another program has changed the tables and
// SQLite has compiled s again.
func (s *Stmt) describe() {
	tls := s.h.tls
	version := 1 + sqlite3.Xsqlite3_stmt_status(tls, s.p, sqlite3.SQLITE_STMTSTATUS_REPREPARE, 0)
	if s.version == version {
		return
	}
	s.version = version
	s.columns, s.types = nil, nil
	for i := range sqlite3.Xsqlite3_column_count(tls, s.p) {
		s.columns = append(s.columns, libc.GoString(sqlite3.Xsqlite3_column_name(tls, s.p, i)))
		s.types = append(s.types, strings.ToUpper(libc.GoString(sqlite3.Xsqlite3_column_decltype(tls, s.p, i))))
	}
}

// Stmt returns the statement whose rows these are.
func (c *Cursor) Stmt() *Stmt { return c.s }

// Columns returns the names of the columns.
func (c *Cursor) Columns() []string { return c.s.columns }

// Next is called by database/sql, which calls nothing after Close.
func (c *Cursor) Next(dest []driver.Value) error {
	h := c.s.h
	h.Lock()
	defer h.Unlock()
	if c.begun {
		c.rc = sqlite3.Xsqlite3_step(h.tls, c.s.p)
	}
	c.begun = true
	switch c.rc {
	case sqlite3.SQLITE_ROW:
	case sqlite3.SQLITE_DONE:
		return io.EOF
	default:
		c.err = h.failure(c.rc)
		return c.err
	}
	for i := range dest {
		dest[i] = c.column(int32(i))
	}
	return nil
}

// column returns the value of a column of the present row.
// column returns the value of a column of the present row.
// column returns the value of a column of the present row.
// https://www.sqlite.org/c3ref/column_blob.html
func (c *Cursor) column(i int32) driver.Value {
	tls, p := c.s.h.tls, c.s.p
	switch sqlite3.Xsqlite3_column_type(tls, p, i) {
	case sqlite3.SQLITE_INTEGER:
		return sqlite3.Xsqlite3_column_int64(tls, p, i)
	case sqlite3.SQLITE_FLOAT:
		return sqlite3.Xsqlite3_column_double(tls, p, i)
	case sqlite3.SQLITE_TEXT:
		at := sqlite3.Xsqlite3_column_text(tls, p, i)
		text := string(bytesAt(at, sqlite3.Xsqlite3_column_bytes(tls, p, i)))
		switch c.s.types[i] {
		case "DATE", "DATETIME", "TIMESTAMP":
			return parseTime(text)
		}
		return text
	case sqlite3.SQLITE_BLOB:
		at := sqlite3.Xsqlite3_column_blob(tls, p, i)
		if n := sqlite3.Xsqlite3_column_bytes(tls, p, i); n > 0 {
			return append([]byte(nil), bytesAt(at, n)...)
		}
		return []byte(nil)
	}
	return nil
}

func bytesAt(at uintptr, n int32) []byte {
	if at == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(at)), n)
}

// parseTime reads a column that is declared as a time as the driver does: Go's own
// form, which it writes, then SQLite's, then it is a text.
// https://www.sqlite.org/lang_datefunc.html
func parseTime(text string) any {
	own, _, _ := strings.Cut(text, "m=") // of the monotonic clock
	if t, err := time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", strings.TrimSpace(own)); err == nil {
		return t
	}
	text, utc := strings.CutSuffix(text, "Z")
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999999-07:00", "2006-01-02T15:04:05.999999999-07:00",
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999",
		"2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	if utc {
		text += "Z"
	}
	return text
}

func (c *Cursor) Close() error {
	h := c.s.h
	h.Lock()
	defer h.Unlock()
	c.closed = true
	rc := c.s.reset()
	var err error
	if rc != sqlite3.SQLITE_OK {
		err = h.failure(rc)
	}
	c.s.Open = false
	c.s.Release()
	return err
}

// End says whether c was closed, and what it had failed with.
func (c *Cursor) End() (closed bool, err error) {
	c.s.h.Lock()
	defer c.s.h.Unlock()
	return c.closed, c.err
}

func (c *Cursor) kind(i int) int32 {
	c.s.h.Lock()
	defer c.s.h.Unlock()
	return sqlite3.Xsqlite3_column_type(c.s.h.tls, c.s.p, int32(i))
}

// What sql.ColumnType says, as the driver has it.

func (c *Cursor) ColumnTypeDatabaseTypeName(i int) string { return c.s.types[i] }

func (c *Cursor) ColumnTypeNullable(int) (nullable, ok bool) { return true, true }

func (c *Cursor) ColumnTypePrecisionScale(int) (precision, scale int64, ok bool) { return 0, 0, false }

func (c *Cursor) ColumnTypeLength(i int) (int64, bool) {
	switch c.kind(i) {
	case sqlite3.SQLITE_TEXT, sqlite3.SQLITE_BLOB:
		return math.MaxInt64, true
	}
	return 0, false
}

func (c *Cursor) ColumnTypeScanType(i int) reflect.Type {
	switch c.kind(i) {
	case sqlite3.SQLITE_INTEGER:
		switch c.s.types[i] {
		case "BOOLEAN":
			return reflect.TypeFor[bool]()
		case "DATE", "DATETIME", "TIME", "TIMESTAMP":
			return reflect.TypeFor[time.Time]()
		}
		return reflect.TypeFor[int64]()
	case sqlite3.SQLITE_FLOAT:
		return reflect.TypeFor[float64]()
	case sqlite3.SQLITE_BLOB:
		return reflect.TypeFor[[]byte]()
	case sqlite3.SQLITE_NULL:
		return nil
	}
	return reflect.TypeFor[string]()
}
