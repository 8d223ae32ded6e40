package conn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors of PrepareRows and CheckRead, beside *ForbiddenError and SQLite's own.
var (
	ErrNoStatement    = errors.New("there is no statement")
	ErrManyStatements = errors.New("there is more than one statement")
	ErrNUL            = errors.New("the statement contains a NUL character")
)

// ForbiddenError is a statement that does more than read rows and write those of the
// tables that it may write.
type ForbiddenError struct {
	Action string // in SQL's words, such as "UPDATE" or "PRAGMA"; "" for VACUUM, which SQLite doesn't name
	Object string // the table or what else it concerns; "" for none
	Within string // the trigger or view that does it; "" for the statement itself
}

func (e *ForbiddenError) Error() string {
	if e.Action == "" {
		return "the statement does more than read and write rows, which is not allowed"
	}
	text := e.Action
	if e.Object != "" {
		text += " of " + e.Object
	}
	if e.Within != "" {
		text += " (by " + e.Within + ")"
	}
	return text + " is not allowed"
}

// IsRefusal reports whether err is one of PrepareRows and CheckRead, and not SQLite's.
func IsRefusal(err error) bool {
	_, forbidden := errors.AsType[*ForbiddenError](err)
	return forbidden || errors.Is(err, ErrNoStatement) || errors.Is(err, ErrManyStatements) || errors.Is(err, ErrNUL)
}

// authorizer sees each action of a statement while SQLite compiles it: also those of the
// triggers, views and common table expressions in it, which the text doesn't show.
// https://www.sqlite.org/c3ref/set_authorizer.html
//
// It stays on its connection: to set another one makes SQLite compile every statement
// anew. It judges only between begin and end.
type authorizer struct {
	call     func(tls *libc.TLS, arg uintptr, action int32, first, second, schema, within uintptr) int32 // kept alive for C
	mayWrite func(table string) bool

	judging bool
	rows    bool // the statement reads or writes rows
	refused *ForbiddenError
}

// Authorize makes PrepareRows allow writes to the tables for which mayWrite reports true.
// It is called once, before statements are prepared.
func (c *Conn) Authorize(mayWrite func(table string) bool) {
	a := &authorizer{mayWrite: mayWrite}
	a.call = a.authorize
	c.authorizer = a
	sqlite3.Xsqlite3_set_authorizer(c.tls, c.db, address(a.call), 0)
}

// close gives the authorizer's place back: the connection outlives it in its closing.
func (a *authorizer) close(c *Conn) {
	if a != nil {
		sqlite3.Xsqlite3_set_authorizer(c.tls, c.db, 0, 0)
	}
}

func (a *authorizer) begin() { a.judging, a.rows, a.refused = true, false, nil }
func (a *authorizer) end()   { a.judging = false }

// authorize is called by SQLite. https://www.sqlite.org/c3ref/c_alter_table.html
func (a *authorizer) authorize(_ *libc.TLS, _ uintptr, action int32, first, second, _, within uintptr) int32 {
	if !a.judging {
		return sqlite3.SQLITE_OK
	}
	switch action {
	case sqlite3.SQLITE_SELECT:
		a.rows = true
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_READ:
		if !strings.EqualFold(libc.GoString(first), analyzing) {
			return sqlite3.SQLITE_OK
		}
	case sqlite3.SQLITE_RECURSIVE:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE:
		a.rows = true
		if a.mayWrite(libc.GoString(first)) {
			return sqlite3.SQLITE_OK
		}
	case sqlite3.SQLITE_FUNCTION:
		if !strings.EqualFold(libc.GoString(second), "load_extension") {
			return sqlite3.SQLITE_OK
		}
		first = second
	}
	if a.refused == nil {
		a.refused = &ForbiddenError{Action: actionName(action), Object: libc.GoString(first), Within: libc.GoString(within)}
	}
	return sqlite3.SQLITE_DENY
}

// analyzing is the only one of the tables that stand for a PRAGMA that writes: it runs
// ANALYZE on every table, in statements of its own that are compiled once it is read.
// https://www.sqlite.org/pragma.html#pragma_optimize
const analyzing = "pragma_optimize"

// actionNames has what SQLite calls the authorizer for, beside what is always allowed.
var actionNames = map[int32]string{
	sqlite3.SQLITE_CREATE_INDEX: "CREATE INDEX", sqlite3.SQLITE_CREATE_TABLE: "CREATE TABLE",
	sqlite3.SQLITE_CREATE_TEMP_INDEX: "CREATE TEMP INDEX", sqlite3.SQLITE_CREATE_TEMP_TABLE: "CREATE TEMP TABLE",
	sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "CREATE TEMP TRIGGER", sqlite3.SQLITE_CREATE_TEMP_VIEW: "CREATE TEMP VIEW",
	sqlite3.SQLITE_CREATE_TRIGGER: "CREATE TRIGGER", sqlite3.SQLITE_CREATE_VIEW: "CREATE VIEW", sqlite3.SQLITE_CREATE_VTABLE: "CREATE VIRTUAL TABLE",
	sqlite3.SQLITE_DROP_INDEX: "DROP INDEX", sqlite3.SQLITE_DROP_TABLE: "DROP TABLE",
	sqlite3.SQLITE_DROP_TEMP_INDEX: "DROP INDEX", sqlite3.SQLITE_DROP_TEMP_TABLE: "DROP TABLE",
	sqlite3.SQLITE_DROP_TEMP_TRIGGER: "DROP TRIGGER", sqlite3.SQLITE_DROP_TEMP_VIEW: "DROP VIEW",
	sqlite3.SQLITE_DROP_TRIGGER: "DROP TRIGGER", sqlite3.SQLITE_DROP_VIEW: "DROP VIEW", sqlite3.SQLITE_DROP_VTABLE: "DROP TABLE",
	sqlite3.SQLITE_READ: "SELECT", sqlite3.SQLITE_INSERT: "INSERT", sqlite3.SQLITE_UPDATE: "UPDATE", sqlite3.SQLITE_DELETE: "DELETE",
	sqlite3.SQLITE_PRAGMA: "PRAGMA", sqlite3.SQLITE_TRANSACTION: "transaction statement", sqlite3.SQLITE_SAVEPOINT: "savepoint statement",
	sqlite3.SQLITE_ATTACH: "ATTACH", sqlite3.SQLITE_DETACH: "DETACH", sqlite3.SQLITE_ALTER_TABLE: "ALTER TABLE",
	sqlite3.SQLITE_REINDEX: "REINDEX", sqlite3.SQLITE_ANALYZE: "ANALYZE", sqlite3.SQLITE_FUNCTION: "call",
}

func actionName(action int32) string {
	if name, ok := actionNames[action]; ok {
		return name
	}
	return fmt.Sprintf("action %d", action)
}

// PrepareRows compiles the one statement of a text, which may read every table and write
// those that Authorize allows, and nothing else. What it may not do is a *ForbiddenError,
// and no or more than one statement ErrNoStatement or ErrManyStatements; nothing has run.
func (c *Conn) PrepareRows(text string) (*Stmt, error) {
	if strings.IndexByte(text, 0) >= 0 { // SQLite would read up to it
		return nil, ErrNUL
	}
	t, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, t)
	a := c.authorizer
	a.begin()
	p, tail, err := c.compile(t)
	a.end()
	switch {
	case a.refused != nil:
		return nil, a.refused
	case err != nil:
		return nil, err
	case p == 0:
		return nil, ErrNoStatement
	}
	s := &Stmt{h: c, p: p}
	if !a.rows { // VACUUM has no action of its own
		s.Close()
		return nil, &ForbiddenError{}
	}
	more, _, err := c.compile(tail)
	if more != 0 || err != nil {
		s.Close()
		(&Stmt{h: c, p: more}).Close()
		return nil, ErrManyStatements
	}
	s.learnParameters()
	return s, nil
}

// CheckRead reports why a text is not one statement that only reads rows, by compiling
// it on a connection, as PrepareRows does. It is for connections that read.
func CheckRead(ctx context.Context, reader *sql.Conn, text string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return reader.Raw(func(dc any) error {
		handle, err := connection(dc)
		if err != nil {
			return err
		}
		c := &Conn{db: handle, tls: libc.NewTLS()}
		defer c.tls.Close()
		c.Authorize(func(string) bool { return false })
		defer c.authorizer.close(c)
		s, err := c.PrepareRows(text)
		s.Close()
		return err
	})
}
