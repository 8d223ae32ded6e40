package db

import (
	"database/sql"
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db/internal/q"
)

// stmt is a statement of the write connection that runs for every event. The
// driver's looks up each parameter's name and copies each text into memory of its
// own, and database/sql boxes each argument: for a small row as much again as
// SQLite's own work.
type stmt struct {
	h *handle
	p uintptr // *sqlite3_stmt
}

// value is a parameter of a stmt: an integer, a text or NULL.
type value struct {
	kind int32 // SQLITE_INTEGER, SQLITE_TEXT or SQLITE_NULL
	n    int64
	s    string
}

func intValue(n int64) value   { return value{kind: sqlite3.SQLITE_INTEGER, n: n} }
func textValue(s string) value { return value{kind: sqlite3.SQLITE_TEXT, s: s} }

func nullable(s sql.NullString) value {
	if !s.Valid {
		return value{kind: sqlite3.SQLITE_NULL}
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
	return &stmt{h, *(*uintptr)(pointer(at))}, nil
}

// exec runs s, which returns no rows, and returns how many rows it changed. values
// are those of ?1, ?2 and so on.
func (s *stmt) exec(values ...value) (int64, error) {
	h := s.h
	if err := s.bind(values); err != nil {
		return 0, err
	}
	rc := sqlite3.Xsqlite3_step(h.tls, s.p)
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

// bind gives s its values. Texts lie in the handle's memory until the next statement:
// SQLite copies none that it is told will stay. https://www.sqlite.org/c3ref/bind_blob.html
func (s *stmt) bind(values []value) error {
	h, size := s.h, 0
	for i := range values {
		size += len(values[i].s)
	}
	if err := h.reserve(size); err != nil {
		return err
	}
	at := 0
	for i := range values {
		v, param, rc := &values[i], int32(i+1), int32(0)
		switch v.kind {
		case sqlite3.SQLITE_INTEGER:
			rc = sqlite3.Xsqlite3_bind_int64(h.tls, s.p, param, v.n)
		case sqlite3.SQLITE_TEXT:
			n := copy(h.texts[at:], v.s)
			rc = sqlite3.Xsqlite3_bind_text(h.tls, s.p, param, h.textsAt+uintptr(at), int32(n), 0)
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

// resultError is an error of SQLite that didn't come through the driver.
type resultError struct {
	code int
	text string
}

func (e *resultError) Error() string { return e.text }

// failure makes an error of an extended result code, in the driver's words.
func (h *handle) failure(rc int32) error {
	text := libc.GoString(sqlite3.Xsqlite3_errstr(h.tls, rc))
	if more := libc.GoString(sqlite3.Xsqlite3_errmsg(h.tls, h.db)); more != text {
		text += ": " + more
	}
	return &resultError{int(rc), fmt.Sprintf("%s (%d)", text, rc)}
}

// hot are the statements that run for every event. Each has the parameters of the
// generated one of the same name, in the order of its text.
type hot struct {
	outbox, pending, unpend, result, history *stmt
}

func (h *handle) prepareHot() (s hot, err error) {
	for _, one := range []struct {
		to   **stmt
		text string
	}{
		{&s.outbox, q.InsertOutbox}, {&s.pending, q.InsertPending}, {&s.unpend, q.DeletePending},
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
	for _, one := range []*stmt{s.outbox, s.pending, s.unpend, s.result, s.history} {
		one.close()
	}
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
