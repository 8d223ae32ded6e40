package sqlite

import (
	"errors"
	"fmt"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/q"
)

// takeOwnership makes this process the one that may write, by a commit. The commit
// also syncs what the last owner may have left unsynced in the WAL: without it a
// repeat could be answered from data that a power cut still takes away. It reports
// the file's schema version as found, and whether the last owner ended in order.
func (w *writer) takeOwnership(name string) (version int, clean bool, err error) {
	if err := w.conn.Begin(); err != nil {
		return 0, false, fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, w.conn.Rollback()) }()
	var app, tables int
	row := w.conn.SQL.QueryRowContext(background, `SELECT
		(SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_schema)`)
	if err := row.Scan(&version, &app, &tables); err != nil {
		return 0, false, fmt.Errorf("read header: %w", err)
	}
	switch {
	case tables == 0 && version == 0 && app == 0:
		version = file.SchemaVersion
		if err := w.create(name); err != nil {
			return 0, false, err
		}
		return version, true, w.conn.Commit()
	case app != file.ApplicationID, version < 1:
		return 0, false, db.ErrForeign
	case version > file.SchemaVersion:
		return 0, false, fmt.Errorf("%w (schema %d, this one knows %d)", db.ErrNewer, version, file.SchemaVersion)
	}
	o, err := ownerRow(w)
	if err != nil {
		return 0, false, err
	}
	if w.place.Path != "" {
		if err := file.RewriteWAL(w.place.Path); err != nil {
			return 0, false, fmt.Errorf("write the WAL again: %w", err)
		}
	}
	w.epoch = o.Epoch + 1
	w.nextSeq, w.nextSettled = o.NextSeq, o.NextSettled
	err = w.q0().TakeOwnership(background, q.TakeOwnershipParams{Epoch: w.epoch, Name: name, Since: time.Now().UnixMicro()})
	if err != nil {
		return 0, false, fmt.Errorf("take ownership: %w", err)
	}
	if err := w.conn.Commit(); err != nil {
		return 0, false, fmt.Errorf("take ownership: commit: %w", err)
	}
	return version, o.Clean == 1, nil
}

func ownerRow(w *writer) (q.ReadOwnerRow, error) {
	o, err := w.q0().ReadOwner(background)
	if err != nil {
		return o, fmt.Errorf("read owner: %w", err)
	}
	return o, nil
}

// q0 runs statements before they can be prepared, while the schema may be missing.
func (w *writer) q0() *q.Queries { return q.New(w.conn.SQL) }

func (w *writer) create(name string) error {
	if err := w.conn.Exec(schema); err != nil {
		return fmt.Errorf("create schema: %w", err)
	}
	if err := w.conn.Exec(fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", file.SchemaVersion, file.ApplicationID)); err != nil {
		return fmt.Errorf("create schema: %w", err)
	}
	w.epoch, w.nextSeq, w.nextSettled = 1, 1, 1
	err := w.q0().CreateOwner(background, q.CreateOwnerParams{Epoch: w.epoch, Name: name, Since: time.Now().UnixMicro()})
	if err != nil {
		return fmt.Errorf("create owner: %w", err)
	}
	return nil
}

// fenced runs fn in one write transaction of this owner.
func (w *writer) fenced(fn func() error) (err error) {
	if err := w.conn.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, w.conn.Rollback()) }()
	epoch, err := w.q0().Epoch(background)
	if err != nil {
		return fmt.Errorf("read owner: %w", err)
	}
	if epoch != w.epoch {
		return fmt.Errorf("%w (epoch %d, ours is %d)", db.ErrFenced, epoch, w.epoch)
	}
	if err := fn(); err != nil {
		return err
	}
	if err := w.conn.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
