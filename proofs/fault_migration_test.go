package proofs

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"

	"inturn/internal/faultvfs"
)

// prepareOld leaves pending events in a file of the first version.
func (f *faulty) prepareOld() {
	f.Helper()
	schema, err := os.ReadFile("../db/sqlite/testdata/v1.sql")
	if err != nil {
		f.Fatal(err)
	}
	tables, _, _ := strings.Cut(string(schema), "\nINSERT ")
	file, err := sql.Open("sqlite", "file:"+f.path)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	file.SetMaxOpenConns(1)
	do := func(query string, args ...any) {
		f.Helper()
		if _, err := file.Exec(query, args...); err != nil {
			f.Fatal(err)
		}
	}
	do("PRAGMA journal_mode = WAL; " + tables)
	old := f.all[:4]
	do("INSERT INTO owner VALUES (1, 7, 'an older process', 1, 0, ?, 1)", 1+len(old))
	for i, ev := range old {
		seq := int64(1 + i)
		do("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, 1, ?, NULL)", seq, ev.ClientID, ev.MessageID, ev.Type, string(ev.Payload), ev.RequestID)
		do("INSERT INTO pending VALUES (?, ?, ?, 1)", ev.ClientID, seq, seq)
		do("INSERT INTO accounts (client_id) VALUES (?) ON CONFLICT DO NOTHING", ev.ClientID)
		f.known.answered(ev.id, seq)
	}
}

// migrationCopy fails in the copy of the older file: none gets the name, none is left over.
func (f *faulty) migrationCopy(fault faultvfs.Fault) error {
	fault.Kind, fault.Suffix = faultvfs.Main, ".part"
	err := f.start(fault)
	if left, err := filepath.Glob(f.path + ".v*"); err != nil || len(left) > 0 {
		f.Errorf("left behind: %q, %v", left, err)
	}
	return err
}

// migration fails in its transaction: the copy is there, of the older version. What the
// file is then, the restart decides.
func (f *faulty) migration(fault faultvfs.Fault) error {
	fault.Kind, fault.After = faultvfs.WAL, f.beforeMigration(fault.Op)
	err := f.start(fault)
	copied, oerr := sql.Open("sqlite", "file:"+f.path+".v1?mode=ro")
	if oerr != nil {
		f.Fatal(oerr)
	}
	defer copied.Close()
	var version, events int
	var sound string
	row := copied.QueryRow("SELECT user_version, (SELECT count(*) FROM outbox), integrity_check FROM pragma_user_version, pragma_integrity_check")
	if err := row.Scan(&version, &events, &sound); err != nil || version != 1 || events != len(f.known.seqs) || sound != "ok" {
		f.Errorf("the copy: version %d, %d events, %s (%v)", version, events, sound, err)
	}
	return err
}

// beforeMigration counts, on a copy of the folder, the steps on the WAL that come
// before the migration's: those that take ownership.
func (f *faulty) beforeMigration(op faultvfs.Op) (n int) {
	f.Helper()
	dir := f.TempDir()
	w, stop, err := f.watched.Fork(dir)
	if err != nil {
		f.Fatal(err)
	}
	defer stop()
	copied := false
	w.OnStep(func(e faultvfs.Event, _ *faultvfs.Disk) {
		copied = copied || strings.HasSuffix(e.Name, ".part")
		if !copied && e.Op == op && e.Kind == faultvfs.WAL {
			n++
		}
	})
	d, err := openStore(f.Context(), filepath.Join(dir, "inturn.db"))
	if err != nil {
		f.Fatal(err)
	}
	if err := d.Close(); err != nil {
		f.Error(err)
	}
	if !copied || n == 0 {
		f.Fatalf("%d steps on the WAL, and a copy: %t", n, copied)
	}
	return n
}
