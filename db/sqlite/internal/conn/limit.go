package conn

import (
	"database/sql"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// LimitValues bounds the bytes of each value and row that a reader's statements compute, until
// restore is called. https://www.sqlite.org/c3ref/c_limit_attached.html
func LimitValues(reader *sql.Conn, bytes int) (restore func(), err error) {
	set := func(bytes int32) (was int32, err error) {
		err = reader.Raw(func(dc any) error {
			handle, err := connection(dc)
			if err != nil {
				return err
			}
			tls := libc.NewTLS()
			defer tls.Close()
			was = sqlite3.Xsqlite3_limit(tls, handle, sqlite3.SQLITE_LIMIT_LENGTH, bytes)
			return nil
		})
		return was, err
	}
	was, err := set(int32(bytes))
	if err != nil {
		return nil, err
	}
	return func() { _, _ = set(was) }, nil // it has worked before
}
