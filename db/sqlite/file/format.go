// Package file takes care of the SQLite file as a whole: which process may own it, copies
// of it (backup, restore, compact), its check, its place in its folder and the room on its
// disk. What is in it, but for the marks that say whose file it is, is package sqlite's.
package file

import (
	"fmt"
	"os"
)

// SchemaVersion is PRAGMA user_version of schema.sql.
const SchemaVersion = 5

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
