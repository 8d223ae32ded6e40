package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"

	"inturn/db"
	"inturn/db/sqlite/internal/conn"
)

// maxDetails bounds what Verify tells of one kind; a last line counts the others.
const maxDetails = 100

// verifyCache is the page cache of Verify, in KiB.
const verifyCache = 64 << 10

// Verify checks the engine's promises, as far as the file alone can show a violation, and
// the functions' invariants. It only reads, in one transaction, so it sees one consistent
// state while a server writes as well. It returns no violations for a sound file.
//
// Memory is bounded; sorting a big file uses the system's temporary folder. Errors:
// db.ErrForeign, ErrUnmarked, db.ErrNewer and ErrOlder for a file that this version can't
// judge; db.ErrCorrupt for one that is no SQLite database; one that could not be read; or
// ctx's.
func Verify(ctx context.Context, path string, invariants []db.Invariant) ([]db.Violation, error) {
	return (&verifier{}).verify(ctx, path, invariants)
}

// verifySound asks SQLite alone, which knows nothing of the engine's promises.
func verifySound(ctx context.Context, path string, _ []db.Invariant) ([]db.Violation, error) {
	return (&verifier{soundOnly: true}).verify(ctx, path, nil)
}

func (v *verifier) verify(ctx context.Context, path string, invariants []db.Invariant) ([]db.Violation, error) {
	err := v.run(ctx, path, invariants)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("verify %s: %w", path, ctx.Err())
	case conn.KindOf(err) == conn.NotADB:
		if !errors.Is(err, db.ErrCorrupt) {
			err = conn.HintCorrupt(err)
		}
		return nil, fmt.Errorf("verify %s: %w", path, err)
	case damaged(err):
		v.report(kindDamaged).add(err.Error())
	case err != nil:
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	return v.violations(), nil
}

func damaged(err error) bool { return err != nil && errors.Is(conn.HintCorrupt(err), db.ErrCorrupt) }

// verifier collects what is found, a report a kind in order of appearance.
type verifier struct {
	reader    *sql.Conn
	tx        *sql.Tx // on reader
	reports   []*report
	soundOnly bool
}

type report struct {
	kind    string
	details []string
	more    int // beyond maxDetails
}

func (v *verifier) report(kind string) *report {
	for _, r := range v.reports {
		if r.kind == kind {
			return r
		}
	}
	r := &report{kind: kind}
	v.reports = append(v.reports, r)
	return r
}

func (r *report) add(detail string) {
	if len(r.details) < maxDetails {
		r.details = append(r.details, db.Bounded(detail))
	} else {
		r.more++
	}
}

func (v *verifier) violations() []db.Violation {
	var list []db.Violation
	for _, r := range v.reports {
		for _, d := range r.details {
			list = append(list, db.Violation{Kind: r.kind, Detail: d})
		}
		if r.more > 0 {
			list = append(list, db.Violation{Kind: r.kind, Detail: fmt.Sprintf("and %d more", r.more)})
		}
	}
	return list
}

// run reads a file that may be damaged in any way. A fault inside SQLite becomes an
// error that says so; what the fault left open is then left open.
func (v *verifier) run(ctx context.Context, path string, invariants []db.Invariant) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: reading it ended in a fault: %v", db.ErrCorrupt, p)
		}
	}()
	answered := Answered(path) // before the state that is looked at, as a server may go on
	pool, err := OpenReadOnly(ctx, path)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.ExecContext(ctx, fmt.Sprintf("PRAGMA cache_size = -%d", verifyCache)); err != nil {
		return err
	}
	if v.reader, err = pool.Conn(ctx); err != nil {
		return err
	}
	defer v.reader.Close()
	if v.tx, err = v.reader.BeginTx(ctx, nil); err != nil {
		return err
	}
	defer v.tx.Rollback()
	if !v.soundOnly {
		if err := v.judgeable(ctx); err != nil {
			return err
		}
	}
	if err := v.sound(ctx); err != nil {
		return err
	}
	if len(v.reports) > 0 || v.soundOnly {
		// What a damaged tree shows means nothing, and walking it may not end.
		return nil
	}
	for _, c := range checks {
		if err := v.check(ctx, c, kindSchema); err != nil {
			return err
		}
	}
	if err := v.hasAnswered(ctx, answered); err != nil {
		return err
	}
	for _, i := range invariants {
		if err := v.check(ctx, check{i.Kind, i.Query}, kindInvariantQuery); err != nil {
			return err
		}
	}
	return nil
}

// judgeable returns an error if the file is not inturn's, or of another version. Marks
// that can't be read because the file is damaged are sound's to report.
func (v *verifier) judgeable(ctx context.Context) error {
	marks, err := ReadMarks(ctx, v.tx)
	if err != nil {
		if damaged(err) && conn.KindOf(err) != conn.NotADB {
			return nil
		}
		return err
	}
	if err := marks.Check(); err != nil {
		return err
	}
	if marks.Version < SchemaVersion {
		return fmt.Errorf("%w (schema %d, this one has %d)", ErrOlder, marks.Version, SchemaVersion)
	}
	return nil
}

// hasAnswered compares the file with what the lock's file says was answered.
func (v *verifier) hasAnswered(ctx context.Context, answered int64) error {
	var next int64 // without an owner that is said already
	if err := v.tx.QueryRowContext(ctx, "SELECT coalesce(max(next_seq), ?) FROM owner", answered).Scan(&next); err != nil {
		return err
	}
	if next < answered {
		v.report(kindLost).add(Lacks(next, answered))
	}
	return nil
}

// Lacks says what a file whose next seq is next lacks, where events up to answered were
// answered.
func Lacks(next, answered int64) string {
	return fmt.Sprintf("the file lacks %d events that were answered (seq %d to %d): its WAL was removed, or an older copy stands in its place", answered-next, next, answered-1)
}

// sound lets SQLite check the file itself.
func (v *verifier) sound(ctx context.Context) error {
	err := v.each(ctx, "PRAGMA integrity_check(100)", func(line string) {
		if line != "ok" {
			v.report(kindDamaged).add(line)
		}
	})
	if err != nil || len(v.reports) > 0 {
		return err
	}
	return v.each(ctx, `SELECT format('row %s of %s refers to a row of %s that is not there', "rowid", "table", "parent")
		FROM pragma_foreign_key_check`, func(line string) { v.report(kindDamaged).add(line) })
}

// check reports each row of c.query under c.kind. A query that can't run is itself
// reported, under broken.
func (v *verifier) check(ctx context.Context, c check, broken string) error {
	if err := conn.CheckRead(ctx, v.reader, c.query); err != nil {
		v.report(broken).add(fmt.Sprintf("%s: %v", c.kind, err))
		return nil
	}
	r := v.report(c.kind)
	err := v.each(ctx, c.query, r.add)
	if err != nil && ctx.Err() == nil && !damaged(err) {
		v.report(broken).add(fmt.Sprintf("%s: %v", c.kind, err))
		return nil
	}
	return err
}

// each calls add with the first column of each row.
func (v *verifier) each(ctx context.Context, query string, add func(string)) error {
	rows, err := v.tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return errors.New("the query returns no columns")
	}
	var detail sql.NullString
	dest := make([]any, len(columns))
	dest[0] = &detail
	for i := 1; i < len(dest); i++ {
		dest[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		add(detail.String)
	}
	return rows.Err()
}
