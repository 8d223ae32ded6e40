package file

import (
	"context"
	"database/sql"
	"io"
	"os"

	"inturn/db/sqlite/internal/conn"
)

// checkName returns a LinksError where the database at path has another name, under which
// it may have a WAL that readers of this one would not see.
func checkName(path string) error {
	info, err := os.Stat(path)
	id := identityOf(info)
	if err != nil || id.links < 2 || Size(path+"-wal") > 0 {
		return nil // what is wrong with it is for others to say
	}
	if mode, err := usesWAL(path); err != nil || !mode {
		return nil // as a backup
	}
	return &LinksError{Path: path, Links: id.links}
}

// usesWAL reports whether the header of the file at path says that it has a WAL. It must
// not be called in a process that has the file open by SQLite.
// https://www.sqlite.org/fileformat.html#file_format_version_numbers
func usesWAL(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	header := make([]byte, 20)
	if _, err := io.ReadFull(f, header); err != nil {
		return false, err
	}
	return header[18] == 2, nil
}

// beside knows whether a database had side files before it was read: SQLite makes an empty
// WAL and its index for readers, whose connections remove neither.
type beside struct {
	path string
	none bool // there were none
}

func lookBeside(path string) beside {
	return beside{path, mustNotExist(path+"-wal", path+"-shm") == nil}
}

// clear removes what reading has made, unless somebody else uses it by now: a connection that
// may write does that when it is closed as the last one.
func (b beside) clear() {
	info, err := os.Stat(b.path + "-wal")
	if !b.none || err != nil || info.Size() > 0 {
		return
	}
	pool, err := sql.Open("sqlite", conn.FileDSN(b.path, map[string][]string{"mode": {"rw"}}))
	if err != nil {
		return
	}
	defer pool.Close()
	var n int
	_ = pool.QueryRowContext(context.Background(), "SELECT count(*) FROM sqlite_schema").Scan(&n) // else it isn't opened
}
