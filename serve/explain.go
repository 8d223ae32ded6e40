package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"inturn/cli"
	"inturn/db"

	"inturn/db/sqlite/file"
)

// explain says what a person can do about an error of the storage.
func (c *Config) explain(err error) error {
	if cli.IsPostgres(c.DB) {
		return explainPostgres(err)
	}
	switch {
	case errors.Is(err, db.ErrCorrupt):
		return &cli.Hint{Err: err, Hint: "keep a copy of the file and its -wal, then run `inturn check --db " + c.DB + "`, or restore a backup; if it never was inturn's, name another with --db"}
	case errors.Is(err, db.ErrFenced):
		return &cli.Hint{Err: err, Hint: "another inturn has taken the file over; this one has written nothing since"}
	case errors.Is(err, file.ErrLockRemoved):
		return &cli.Hint{Err: err, Hint: "start it again: what was answered is in the database. The .lock belongs to the server while it runs, and is never to be removed by hand"}
	case errors.Is(err, file.ErrRestoring):
		return &cli.Hint{Err: err, Hint: "run `inturn restore --force` again; what was there before is kept beside, as .before-…"}
	}
	if explained := cli.ExplainFile(err); explained != err {
		return explained
	}
	if info, serr := os.Stat(c.DB); serr == nil && info.IsDir() {
		return &cli.Hint{Err: err, Hint: "that is a folder: name a file, such as " + filepath.Join(c.DB, "inturn.db") + ", with --db or INTURN_DB"}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return &cli.Hint{Err: err, Hint: "name a file in a folder that this user may write, with --db or INTURN_DB"}
	}
	return err
}

// explainPostgres is explain where the storage is PostgreSQL.
func explainPostgres(err error) error {
	var hint string
	switch {
	case errors.Is(err, db.ErrFenced):
		hint = "another inturn has taken the schema over; this one has written nothing since"
	case errors.Is(err, db.ErrOutcomeUnknown):
		hint = "start it again: what became of the last commit is read from the database, and senders that were not answered send again"
	case errors.Is(err, db.ErrUnavailable):
		hint = "is the server running, and may this user connect? the address is postgres://USER:PASSWORD@HOST:PORT/DATABASE; PGPASSWORD and ~/.pgpass are read too"
	case errors.Is(err, db.ErrForeign):
		hint = "name a schema of inturn's own with --db-schema"
	default:
		return err
	}
	return &cli.Hint{Err: err, Hint: hint}
}

// explainListen says what to do about an address that can't be had.
func explainListen(flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &cli.Hint{Err: err, Hint: "is another inturn running? choose another address with " + flag}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &cli.Hint{Err: err, Hint: "this machine has no such address: name one of its own with " + flag}
	case errors.Is(err, syscall.EACCES):
		return &cli.Hint{Err: err, Hint: "ports below 1024 take a right (CAP_NET_BIND_SERVICE): choose another with " + flag + ", and forward to it"}
	}
	return err
}

// checkAddress says what is wrong with an address to listen on.
func checkAddress(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err == nil {
		return nil
	}
	why := "its port is none"
	if e, ok := errors.AsType[*net.AddrError](err); ok {
		why = e.Err
	}
	return &cli.Hint{Err: fmt.Errorf("--%s %.200q is no address: %s", flag, addr, why), Hint: "an address is a host and a port, such as 127.0.0.1:8443, or :8443 for all of this machine's"}
}
