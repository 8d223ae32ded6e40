package sqlite

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

	"inturn/db/sqlite/internal/q"
)

// stmt is a statement of the write connection that runs for every event: the
// engine's own (hot) and those of effects. The driver's looks up each parameter's
// name and copies each text into memory of its own, and database/sql boxes each
// argument: for a small row as much again as SQLite's own work.
type stmt struct {
	h *handle
	p uintptr // *sqlite3_stmt

	// Of effects' statements, see prepareFor.
	params  int
	names   []string // of the parameters; nil where all go by their number
	columns []string
	types   []string // as declared, in capitals
	version int32    // of columns and types
	open    bool     // a cursor reads from it
	once    bool     // not kept: it ends with its run
}

// value is a parameter of a stmt.
type value struct {
	kind int32  // SQLITE_INTEGER, SQLITE_FLOAT, SQLITE_TEXT, SQLITE_BLOB or SQLITE_NULL
	n    int64  // also a float's bits
	s    string // also a blob
}

func intValue(n int64) value   { return value{kind: sqlite3.SQLITE_INTEGER, n: n} }
func textValue(s string) value { return value{kind: sqlite3.SQLITE_TEXT, s: s} }
func nullValue() value         { return value{kind: sqlite3.SQLITE_NULL} }

func nullable(s sql.NullString) value {
	if !s.Valid {
		return nullValue()
	}
	return textValue(s.String)
}

// prepare compiles text. https://www.sqlite.org/c3ref/prepare.html
func (h *handle) prepare(text string) (*stmt, error) {
	t, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(h.tls, t)
	at := h.tls.Alloc(int(unsafe.Sizeof(uintptr(0))))
	defer h.tls.Free(int(unsafe.Sizeof(uintptr(0))))
	if rc := sqlite3.Xsqlite3_prepare_v3(h.tls, h.db, t, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, at, 0); rc != sqlite3.SQLITE_OK {
		return nil, h.failure(rc)
	}
	return &stmt{h: h, p: *(*uintptr)(pointer(at))}, nil
}

// exec runs s, lets go of the rows it returns, and returns how many it changed. values
// are those of ?1, ?2 and so on.
func (s *stmt) exec(values ...value) (int64, error) {
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

// number runs s, which has no parameters, and returns its first row's first column.
func (s *stmt) number() (int64, error) {
	h := s.h
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

// What SQLite is told about the memory of a text: that it stays until the next
// statement, so that nothing is copied, or that it doesn't.
// https://www.sqlite.org/c3ref/c_static.html
const (
	stays  uintptr = 0
	passes         = ^uintptr(0)
)

// bind gives s its values. Texts lie in the handle's memory until the next statement.
// https://www.sqlite.org/c3ref/bind_blob.html
func (s *stmt) bind(values []value, memory uintptr) error {
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

func (s *stmt) close() {
	if s != nil {
		sqlite3.Xsqlite3_finalize(s.h.tls, s.p) // its result is that of the last step
	}
}

// keptTexts is how much memory for texts stays, in bytes: most events fit.
const keptTexts = 64 << 10

// reserve makes room for the texts of one statement, also where all are empty: one
// without an address would be NULL.
func (h *handle) reserve(size int) error {
	if h.textsAt != 0 && size <= len(h.texts) && (len(h.texts) <= keptTexts || size > keptTexts) {
		return nil
	}
	h.forgetTexts()
	size = max(size, keptTexts)
	at := libc.Xmalloc(h.tls, libc.Tsize_t(size))
	if at == 0 {
		return errors.New("no memory for a statement's texts")
	}
	h.textsAt, h.texts = at, unsafe.Slice((*byte)(pointer(at)), size)
	return nil
}

func (h *handle) forgetTexts() {
	if h.textsAt != 0 {
		libc.Xfree(h.tls, h.textsAt)
	}
	h.textsAt, h.texts = 0, nil
}

// pointer is for memory that is C's: Go's collector neither moves nor frees it.
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }

// failure makes the driver's error of an extended result code.
func (h *handle) failure(rc int32) error {
	text := libc.GoString(sqlite3.Xsqlite3_errstr(h.tls, rc))
	if more := libc.GoString(sqlite3.Xsqlite3_errmsg(h.tls, h.db)); more != text {
		text += ": " + more
	}
	text = fmt.Sprintf("%s (%d)", text, rc)
	if rc == sqlite3.SQLITE_BUSY {
		text += " (SQLITE_BUSY)"
	}
	e, err := driverError(int(rc), text)
	if err != nil {
		return err // newHandle has tried it
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

// hot are the statements that run for every event and every group. Each has the
// parameters of the generated one of the same name, in the order of its text.
type hot struct {
	epoch, counters                          *stmt
	outbox, pending, unpend, result, history *stmt
}

func (h *handle) prepareHot() (s hot, err error) {
	for _, one := range []struct {
		to   **stmt
		text string
	}{
		{&s.epoch, q.Epoch}, {&s.counters, q.SaveCounters}, {&s.outbox, q.InsertOutbox}, {&s.pending, q.InsertPending}, {&s.unpend, q.DeletePending},
		{&s.result, q.InsertResult}, {&s.history, q.FileEvent},
	} {
		if *one.to, err = h.prepare(one.text); err != nil {
			s.close()
			return hot{}, err
		}
	}
	return s, nil
}

func (s *hot) close() {
	for _, one := range []*stmt{s.epoch, s.counters, s.outbox, s.pending, s.unpend, s.result, s.history} {
		one.close()
	}
}

func (s *hot) readEpoch() (int64, error) { return s.epoch.number() }

func (s *hot) saveCounters(p q.SaveCountersParams) error {
	_, err := s.counters.exec(intValue(p.NextSeq), intValue(p.NextSettled), intValue(p.Pending))
	return err
}

func (s *hot) insertOutbox(p q.InsertOutboxParams) (int64, error) {
	return s.outbox.exec(intValue(p.Seq), textValue(p.ClientID), textValue(p.MessageID), textValue(p.Type), textValue(p.Payload),
		intValue(p.ReceivedAt), textValue(p.RequestID), nullable(p.Attrs))
}

func (s *hot) insertPending(p q.InsertPendingParams) error {
	_, err := s.pending.exec(textValue(p.ClientID), intValue(p.Turn), intValue(p.Seq), intValue(p.Run))
	return err
}

func (s *hot) deletePending(p q.DeletePendingParams) (int64, error) {
	return s.unpend.exec(textValue(p.ClientID), intValue(p.Turn), intValue(p.Seq), intValue(p.Run))
}

func (s *hot) insertResult(p q.InsertResultParams) error {
	_, err := s.result.exec(intValue(p.Seq), intValue(p.Run), intValue(p.Turn), intValue(p.Settled), textValue(p.Status), intValue(p.Attempts),
		intValue(p.StartedAt), intValue(p.FinishedAt), nullable(p.Output), nullable(p.Error))
	return err
}

func (s *hot) fileEvent(p q.FileEventParams) error {
	_, err := s.history.exec(textValue(p.ClientID), intValue(p.Seq))
	return err
}
