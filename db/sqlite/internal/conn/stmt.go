package conn

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Stmt is a statement of the write connection that runs for every event: the
// engine's own (hot) and those of effects. The driver's looks up each parameter's
// name and copies each text into memory of its own, and database/sql boxes each
// argument: for a small row as much again as SQLite's own work.
type Stmt struct {
	h *Conn
	p uintptr // *sqlite3_stmt

	// Of effects' statements, see PrepareRows
	params  int
	names   []string // of the parameters; nil where all go by their number
	columns []string
	types   []string // as declared, in capitals
	version int32    // of columns and types
	Open    bool     // a cursor reads from it
	Once    bool     // not kept: it ends with its run
}

// Value is a parameter of a Stmt.
type Value struct {
	kind int32  // SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_TEXT, SQLITE_BLOB or SQLITE_NULL
	n    int64  // also a float's bits
	s    string // also a blob
}

func Int(n int64) Value   { return Value{kind: sqlite3.SQLITE_INTEGER, n: n} }
func Text(s string) Value { return Value{kind: sqlite3.SQLITE_TEXT, s: s} }
func Null() Value         { return Value{kind: sqlite3.SQLITE_NULL} }

func Nullable(s sql.NullString) Value {
	if !s.Valid {
		return Null()
	}
	return Text(s.String)
}

// Prepare compiles the first statement of a text. https://www.sqlite.org/c3ref/prepare.html
func (c *Conn) Prepare(text string) (*Stmt, error) {
	t, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, t)
	p, _, err := c.compile(t)
	if err != nil {
		return nil, err
	}
	return &Stmt{h: c, p: p}, nil
}

// compile compiles the first statement of a C string and returns where the text goes on
// behind it. Of blanks and comments alone the statement is 0.
func (c *Conn) compile(text uintptr) (stmt, tail uintptr, err error) {
	const size = int(unsafe.Sizeof(uintptr(0)))
	at := c.tls.Alloc(2 * size)
	defer c.tls.Free(2 * size)
	tailAt := at + uintptr(size)
	if rc := sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, at, tailAt); rc != sqlite3.SQLITE_OK {
		return 0, 0, c.failure(rc)
	}
	return *(*uintptr)(pointer(at)), *(*uintptr)(pointer(tailAt)), nil
}

// Exec runs s, lets go of the rows it returns, and returns how many it changed. values
// are those of ?1, ?2 and so on.
func (s *Stmt) Exec(values ...Value) (int64, error) {
	h := s.h
	if err := s.bind(values, stays); err != nil {
		return 0, err
	}
	rc := sqlite3.Xsqlite3_step(h.tls, s.p)
	for rc == sqlite3.SQLITE_ROW {
		rc = sqlite3.Xsqlite3_step(h.tls, s.p)
	}
	if rc != sqlite3.SQLITE_DONE {
		err := h.failure(rc)
		sqlite3.Xsqlite3_reset(h.tls, s.p) // says the same again
		return 0, err
	}
	n := sqlite3.Xsqlite3_changes64(h.tls, h.db)
	if rc := sqlite3.Xsqlite3_reset(h.tls, s.p); rc != sqlite3.SQLITE_OK {
		return 0, h.failure(rc)
	}
	return n, nil
}

// Number runs s and returns its first row's first column. values are those of ?1, ?2 and
// so on. Without a row it returns sql.ErrNoRows.
func (s *Stmt) Number(values ...Value) (int64, error) {
	h := s.h
	if err := s.bind(values, stays); err != nil {
		return 0, err
	}
	rc := sqlite3.Xsqlite3_step(h.tls, s.p)
	if rc == sqlite3.SQLITE_DONE {
		sqlite3.Xsqlite3_reset(h.tls, s.p)
		return 0, sql.ErrNoRows
	}
	if rc != sqlite3.SQLITE_ROW {
		err := h.failure(rc)
		sqlite3.Xsqlite3_reset(h.tls, s.p) // says the same again
		return 0, err
	}
	n := sqlite3.Xsqlite3_column_int64(h.tls, s.p, 0)
	sqlite3.Xsqlite3_reset(h.tls, s.p)
	return n, nil
}

// How long the memory of a text stays: until the next statement, so that SQLite copies
// nothing, or not.
// https://www.sqlite.org/c3ref/c_static.html
const (
	stays  uintptr = 0
	passes         = ^uintptr(0)
)

// bind gives s its values. Texts lie in the handle's memory until the next statement.
// https://www.sqlite.org/c3ref/bind_blob.html
func (s *Stmt) bind(values []Value, memory uintptr) error {
	h, size := s.h, 0
	for i := range values {
		size += len(values[i].s)
	}
	if err := h.reserve(size); err != nil {
		return err
	}
	at := 0
	for i := range values {
		v, param := &values[i], int32(i+1)
		var rc int32
		switch v.kind {
		case sqlite3.SQLITE_INTEGER:
			rc = sqlite3.Xsqlite3_bind_int64(h.tls, s.p, param, v.n)
		case sqlite3.SQLITE_FLOAT:
			rc = sqlite3.Xsqlite3_bind_double(h.tls, s.p, param, math.Float64frombits(uint64(v.n)))
		case sqlite3.SQLITE_TEXT:
			n := copy(h.texts[at:], v.s)
			rc = sqlite3.Xsqlite3_bind_text(h.tls, s.p, param, h.textsAt+uintptr(at), int32(n), memory)
			at += n
		case sqlite3.SQLITE_BLOB:
			n := copy(h.texts[at:], v.s)
			rc = sqlite3.Xsqlite3_bind_blob(h.tls, s.p, param, h.textsAt+uintptr(at), int32(n), memory)
			at += n
		default:
			rc = sqlite3.Xsqlite3_bind_null(h.tls, s.p, param)
		}
		if rc != sqlite3.SQLITE_OK {
			return h.failure(rc)
		}
	}
	return nil
}

func (s *Stmt) Close() {
	if s != nil {
		sqlite3.Xsqlite3_finalize(s.h.tls, s.p) // its result is that of the last step
	}
}

// keptTexts is how much memory for texts stays, in bytes: most events fit.
const keptTexts = 64 << 10

// reserve makes room for the texts of one statement, also where all are empty: one
// without an address would be NULL.
func (c *Conn) reserve(size int) error {
	if c.textsAt != 0 && size <= len(c.texts) && (len(c.texts) <= keptTexts || size > keptTexts) {
		return nil
	}
	c.forgetTexts()
	size = max(size, keptTexts)
	at := libc.Xmalloc(c.tls, libc.Tsize_t(size))
	if at == 0 {
		return errors.New("no memory for a statement's texts")
	}
	c.textsAt, c.texts = at, unsafe.Slice((*byte)(pointer(at)), size)
	return nil
}

func (c *Conn) forgetTexts() {
	if c.textsAt != 0 {
		libc.Xfree(c.tls, c.textsAt)
	}
	c.textsAt, c.texts = 0, nil
}

// pointer is for memory that is C's: Go's collector neither moves nor frees it.
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }

// failure makes the driver's error of an extended result code.
func (c *Conn) failure(rc int32) error {
	text := libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, rc))
	if more := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db)); more != text {
		text += ": " + more
	}
	text = fmt.Sprintf("%s (%d)", text, rc)
	if rc == sqlite3.SQLITE_BUSY {
		text += " (SQLITE_BUSY)"
	}
	e, err := driverError(int(rc), text)
	if err != nil {
		return err // New has tried it
	}
	return e
}

// driverError fills the driver's error, which it makes for itself only: effects may
// look for it.
func driverError(code int, text string) (*sqlite.Error, error) {
	e := &sqlite.Error{}
	v := reflect.ValueOf(e).Elem()
	t, c := v.FieldByName("msg"), v.FieldByName("code")
	if t.Kind() != reflect.String || c.Kind() != reflect.Int {
		return nil, fmt.Errorf("unexpected driver error %T: %s", e, text)
	}
	*(*string)(t.Addr().UnsafePointer()) = text
	*(*int)(c.Addr().UnsafePointer()) = code
	return e, nil
}
