// newest prints the version of SQLite and the number of events of a file, by the Go
// package that is named: newest PACKAGE FILE.
package main

import (
	"database/sql"
	"fmt"
	"os"

	_ "github.com/mattn/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver" // registered as ncruces by -ldflags: both packages call themselves sqlite3
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const query = "SELECT sqlite_version(), count(*) FROM events"

func main() {
	version, n, err := read(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(version, n)
}

func read(pkg, file string) (version string, n int, err error) {
	if pkg == "zombiezen" {
		c, err := sqlite.OpenConn(file, sqlite.OpenReadOnly)
		if err != nil {
			return "", 0, err
		}
		defer c.Close()
		err = sqlitex.ExecuteTransient(c, query, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			version, n = s.ColumnText(0), s.ColumnInt(1)
			return nil
		}})
		return version, n, err
	}
	db, err := sql.Open(map[string]string{"mattn": "sqlite3", "ncruces": "ncruces"}[pkg], "file:"+file+"?mode=ro")
	if err != nil {
		return "", 0, err
	}
	defer db.Close()
	err = db.QueryRow(query).Scan(&version, &n)
	return version, n, err
}
