package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// prepared describes a database file whose events are written by SQL, which is faster than
// by a server.
type prepared struct {
	accounts, each int
	pending        bool // else all are done
	kind, payload  string
	apart          bool // an account's events lie apart, as if accounts took turns; else side by side
}

// prepare makes the file in dir. A server creates the tables.
func (b *bench) prepare(dir string, p prepared) error {
	s, err := b.serve(dir)
	if err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	// The column of what is flushed; an older tree, for a comparison, names it filed.
	flushed, err := b.output(time.Minute, "sqlite3", s.file, "SELECT name FROM pragma_table_info('owner') WHERE name IN ('flushed', 'filed')")
	if err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	n := p.accounts * p.each
	account := fmt.Sprintf("(i - 1) / %d", p.each)
	if p.apart {
		account = fmt.Sprintf("(i - 1) %% %d", p.accounts)
	}
	// The pages of the unique index are as full as they get, and ids that rise with
	// time come behind these.
	script := []string{
		"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000", "PRAGMA locking_mode = EXCLUSIVE", "BEGIN",
		fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT %d)
			INSERT INTO outbox (seq, client_id, message_id, type, payload, received_at, request_id)
			SELECT i, 'client' || substr('00000000000000000000', 1, 26 - length(100000 + %s)) || (100000 + %[2]s),
			'1000000000-' || (100000000 + i) || '-0', '%s', '%s', 1000000000000000, '2RP4J7HSNYOTY2C6XIQKG2ZBCW' FROM n`, n, account, p.kind, p.payload),
		"INSERT INTO accounts (client_id) SELECT DISTINCT client_id FROM outbox",
		"INSERT INTO history (client_id, seq) SELECT client_id, seq FROM outbox ORDER BY client_id, seq",
		fmt.Sprintf("UPDATE owner SET next_seq = %d, next_settled = %[1]d, %[3]s = %[2]d", n+1, n, strings.TrimSpace(string(flushed))),
		"INSERT INTO results (seq, run, turn, settled, status, attempts, started_at, finished_at) SELECT seq, 1, seq, seq, 'done', 1, 1, 1 FROM outbox",
		"COMMIT",
	}
	if p.pending {
		script[len(script)-2] = "INSERT INTO lanes (client_id, turn, seq, run) SELECT client_id, seq, seq, 1 FROM outbox ORDER BY client_id, seq; UPDATE owner SET pending = (SELECT count(*) FROM lanes)"
	}
	if err := b.sqlite(s.file, script...); err != nil {
		return fmt.Errorf("prepare %d events: %w", n, err)
	}
	if b.o.quick { // so that this file rots no more than the tables that it fills
		if err := b.check(s.file); err != nil {
			return err
		}
	}
	syscall.Sync() // what is measured next should not wait for these pages
	return nil
}

// sqlite runs SQL on a file that no server has open.
func (b *bench) sqlite(file string, script ...string) error {
	_, err := b.output(15*time.Minute, "sqlite3", "-bail", file, strings.Join(script, ";\n")+";")
	return err
}

// check runs `inturn check` on the file in dir.
func (b *bench) check(file string) error {
	text, err := b.output(5*time.Minute, b.inturn, "check", "--db", file)
	if err != nil {
		return fmt.Errorf("%w\n%.1000s", err, text)
	}
	return nil
}

func databaseIn(dir string) string { return filepath.Join(dir, "inturn.db") }
