package sqlite

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"inturn/db"
	"inturn/db/sqlite/file"
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// ownership is the right of this process to write, as a row of the file says: its epoch,
// read first in every transaction, is the fence.
type ownership struct {
	conn  *conn.Conn
	place *file.Place
	epoch int64
	moved bool // the whole WAL was moved into the file since the base was last changed
}

// foundFile is a file as the ownership of it found it.
type foundFile struct {
	version              int  // of its schema
	clean                bool // the last owner ended in order
	nextSeq, nextSettled int64
}

// take makes this process the one that may write, by a commit. The commit
// also syncs what the last owner may have left unsynced in the WAL: without it a
// repeat could be answered from data that a power cut still takes away.
func (o *ownership) take(name string) (found foundFile, err error) {
	if err := o.conn.Begin(); err != nil {
		return found, fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, o.conn.Rollback()) }()
	marks, err := file.ReadMarks(background, o.conn.SQL)
	if err != nil {
		return found, fmt.Errorf("read header: %w", err)
	}
	if marks == (file.Marks{}) {
		if err := o.create(name); err != nil {
			return found, err
		}
		return foundFile{file.SchemaVersion, true, 1, 1}, o.conn.Commit()
	}
	if err := marks.Check(); err != nil {
		return found, err
	}
	found.version = marks.Version
	row, err := o.q0().ReadOwner(background)
	if err != nil {
		return found, fmt.Errorf("read owner: %w", err)
	}
	if o.place.Path != "" {
		if err := file.RewriteWAL(o.place.Path); err != nil {
			return found, fmt.Errorf("write the WAL again: %w", err)
		}
	}
	o.epoch = row.Epoch + 1
	err = o.q0().TakeOwnership(background, q.TakeOwnershipParams{Epoch: o.epoch, Name: name, Since: time.Now().UnixMicro()})
	if err != nil {
		return found, fmt.Errorf("take ownership: %w", err)
	}
	if err := o.conn.Commit(); err != nil {
		return found, fmt.Errorf("take ownership: commit: %w", err)
	}
	found.clean, found.nextSeq, found.nextSettled = row.Clean == 1, row.NextSeq, row.NextSettled
	return found, nil
}

// saveBase gives the owner a new base where the WAL has been moved, see file.CheckBase. The
// file has the former one until it is moved again.
func (o *ownership) saveBase() error {
	if !o.moved || o.place.Path == "" {
		return nil
	}
	return o.q0().SaveBase(background, 1+rand.Int64N(math.MaxInt64))
}

// q0 runs statements before they can be prepared, while the schema may be missing.
func (o *ownership) q0() *q.Queries { return q.New(o.conn.SQL) }

func (o *ownership) create(name string) error {
	if err := o.conn.Exec(schema); err != nil {
		return fmt.Errorf("create schema: %w", err)
	}
	if err := o.conn.Exec(fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", file.SchemaVersion, file.ApplicationID)); err != nil {
		return fmt.Errorf("create schema: %w", err)
	}
	o.epoch = 1
	err := o.q0().CreateOwner(background, q.CreateOwnerParams{Epoch: o.epoch, Name: name, Since: time.Now().UnixMicro()})
	if err != nil {
		return fmt.Errorf("create owner: %w", err)
	}
	return nil
}

// fenced runs fn in one write transaction of this owner.
func (o *ownership) fenced(fn func() error) (err error) {
	if err := o.conn.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { err = errors.Join(err, o.conn.Rollback()) }()
	epoch, err := o.q0().Epoch(background)
	if err != nil {
		return fmt.Errorf("read owner: %w", err)
	}
	if epoch != o.epoch {
		return fmt.Errorf("%w (epoch %d, ours is %d)", db.ErrFenced, epoch, o.epoch)
	}
	if err := fn(); err != nil {
		return err
	}
	if err := o.conn.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
