// Package file takes care of the SQLite file as a whole: which process may own it, copies
// of it (backup, restore, compact), its check, its place in its folder and the room on its
// disk. What is in it, but for the marks that say whose file it is, is package sqlite's.
package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"inturn/db"
)

// SchemaVersion is PRAGMA user_version of schema.sql.
const SchemaVersion = 8

// ApplicationID marks the file as inturn's ("intu"), so that no other program's
// database is taken for ours. https://www.sqlite.org/pragma.html#pragma_application_id
const ApplicationID = 0x696e7475

// OwnerName returns a name of this process, for people: its host and process id.
func OwnerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

var (
	// ErrUnmarked: the tables are inturn's and the marks are missing, as after a .dump that
	// was loaded into a new file. It is a db.ErrForeign.
	ErrUnmarked = fmt.Errorf("%w, or one of inturn's that has lost its marks (a .dump leaves out application_id and user_version)", db.ErrForeign)
	// ErrEmpty: there is no table in the file, as in one that was only made. It is a db.ErrForeign.
	ErrEmpty error = emptyError{}
	// ErrOlder: the file has the schema of an earlier version, which a server migrates when
	// it starts.
	ErrOlder = errors.New("the file has the schema of an earlier version of inturn")
)

type emptyError struct{}

func (emptyError) Error() string { return "there is no table in the file: it is empty, or no database" }

func (emptyError) Is(target error) bool { return target == db.ErrForeign }

// WayBack says for people how a file of ErrUnmarked gets its marks again.
var WayBack = fmt.Sprintf("if it was loaded from a .dump of inturn's file: sqlite3 FILE 'PRAGMA application_id = %d; PRAGMA user_version = N', "+
	"N being the original's user_version (%d in this version)", ApplicationID, SchemaVersion)

// Marks are what says whose file it is.
type Marks struct {
	App, Version int
	Tables       int // in all
	Known        int // of inturn's that are in it
}

// knownTables are some that every version has.
const knownTables = `'owner', 'outbox', 'accounts', 'results'`

// ReadMarks reads the marks of an open database.
func ReadMarks(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (m Marks, err error) {
	err = q.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
		count(*), count(*) FILTER (WHERE type = 'table' AND name IN (`+knownTables+`)) FROM sqlite_schema`).Scan(&m.App, &m.Version, &m.Tables, &m.Known)
	return m, err
}

// Check returns nil if the file is inturn's, of this version or an earlier one. Errors:
// db.ErrForeign, ErrEmpty, ErrUnmarked, db.ErrNewer.
func (m Marks) Check() error {
	switch {
	case m == (Marks{}):
		return ErrEmpty
	case m.App == 0 && m.Known == 4:
		return ErrUnmarked
	case m.App != ApplicationID, m.Version < 1 && m.Known < 4:
		return db.ErrForeign
	case m.Version < 1:
		return ErrUnmarked
	case m.Version > SchemaVersion:
		return fmt.Errorf("%w (schema %d, this one knows %d)", db.ErrNewer, m.Version, SchemaVersion)
	}
	return nil
}
