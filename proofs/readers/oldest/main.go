// oldest prints the version of SQLite and the number of events of a file, by an earlier
// version of a Go package: oldest FILE.
package main

import (
	"database/sql"
	"fmt"
	"os"

	_ "github.com/mattn/go-sqlite3"
)

func main() {
	db, err := sql.Open("sqlite3", "file:"+os.Args[1]+"?mode=ro")
	var version string
	var n int
	if err == nil {
		err = db.QueryRow("SELECT sqlite_version(), count(*) FROM events").Scan(&version, &n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(version, n)
}
