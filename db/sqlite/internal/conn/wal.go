package conn

import (
	"fmt"
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// CheckpointFrames is the length of the WAL, in pages, from which it is moved into the
// file: 16 MiB. The hot pages of many groups are then copied once instead
// of many times.
const CheckpointFrames = 4096

// walHook is called by SQLite after the sync of every commit that wrote into the WAL. It
// takes the place of SQLite's own hook, PRAGMA wal_autocheckpoint, which moves a long WAL
// into the file inside the commit, so that each waiting answer would wait for that as
// well.
// https://www.sqlite.org/c3ref/wal_hook.html
type walHook struct {
	checkpointed func(took time.Duration)
	call         func(tls *libc.TLS, arg, db, name uintptr, frames int32) int32 // kept: C's pointer to it doesn't
	synced       bool                                                           // since it was last cleared
	frames       int32                                                          // the WAL's length since the last checkpoint
	length       int32                                                          // the WAL's length at the last commit
}

// newWALHook takes the place of the connection's hook.
func newWALHook(c *Conn, checkpointed func(time.Duration)) *walHook {
	w := &walHook{checkpointed: checkpointed}
	w.call = w.committed
	sqlite3.Xsqlite3_wal_hook(c.tls, c.db, address(w.call), 0)
	return w
}

// close gives the hook's place back: the connection outlives us in its closing.
func (w *walHook) close(c *Conn) { sqlite3.Xsqlite3_wal_hook(c.tls, c.db, 0, 0) }

func (w *walHook) committed(_ *libc.TLS, _, _, _ uintptr, frames int32) int32 {
	w.synced, w.frames, w.length = true, frames, frames
	return sqlite3.SQLITE_OK
}

// Checkpoint moves a long WAL into the file. What it can't copy, the next one does. It returns
// the WAL's length, in pages, at the connection's last commit, and whether all of it was moved.
func (c *Conn) Checkpoint() (frames int, whole bool) {
	if c.wal.frames >= CheckpointFrames {
		c.wal.frames = 0
		began := time.Now()
		whole, _ = c.moveWAL("PASSIVE")
		c.wal.checkpointed(time.Since(began))
	}
	return int(c.wal.length), whole
}

// moveWAL moves the WAL into the file and reports whether nothing of it was left: something is
// while another connection reads an old state.
// https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
func (c *Conn) moveWAL(mode string) (whole bool, err error) {
	var busy, frames, moved int
	err = c.SQL.QueryRowContext(background, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &moved)
	return err == nil && busy == 0 && frames == moved, err
}

// KeepWAL makes the connection leave the WAL as it is when it is closed, as a process that
// is killed does, in place of moving it into the file and removing it.
// https://www.sqlite.org/c3ref/c_dbconfig_defensive.html#sqlitedbconfignockptonclose
func (c *Conn) KeepWAL() {
	args := libc.NewVaList(int32(1), uintptr(0))
	defer libc.Xfree(c.tls, args)
	sqlite3.Xsqlite3_db_config(c.tls, c.db, sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, args)
}

// Synced reports whether a commit wrote into the WAL, and synced it, since Synced was
// last called.
func (c *Conn) Synced() bool {
	synced := c.wal.synced
	c.wal.synced = false
	return synced
}

// UseWAL fails where the file's folder can't have a WAL (some network file systems).
func (c *Conn) UseWAL() error {
	var mode string
	if err := c.SQL.QueryRowContext(background, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("journal_mode WAL: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("journal_mode WAL: this file system gives %q", mode)
	}
	return nil
}

// ShrinkWAL moves the WAL into the file and gives its room back. It reports whether nothing is
// left in the WAL: something is while another connection reads an old state.
func (c *Conn) ShrinkWAL() (whole bool, err error) { return c.moveWAL("TRUNCATE") }
