package conn

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"modernc.org/libc"
)

// Readers opens a pool of at most n connections that read the file at path.
func Readers(path string, n int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite", "")
	if err != nil {
		return nil, err
	}
	readers := sql.OpenDB(withoutMutex{pool.Driver(), ReadDSN(path)})
	readers.SetMaxOpenConns(n)
	readers.SetMaxIdleConns(n)
	return readers, pool.Close()
}

// withoutMutex makes the connections of a pool, which gives each to one user at a time,
// without SQLite's mutex.
type withoutMutex struct {
	driver driver.Driver
	dsn    string
}

func (u withoutMutex) Driver() driver.Driver { return u.driver }

// Connect leaks the mutex, some 40 bytes: a pool opens few connections in its life.
func (u withoutMutex) Connect(context.Context) (driver.Conn, error) {
	conn, err := u.driver.Open(u.dsn)
	if err != nil {
		return nil, err
	}
	tls := libc.NewTLS()
	defer tls.Close()
	db, err := connection(conn)
	if err == nil {
		_, err = takeMutex(tls, db)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
