package sqlite

import (
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"inturn/db"
)

// checkpointFrames is the length of the WAL, in pages, from which it is moved into the
// file: 16 MiB. The hot pages of many groups are then copied once instead
// of many times.
const checkpointFrames = 4096

// walHook is told by SQLite of every commit that wrote into the WAL, after its sync. It
// takes the place of SQLite's own hook, PRAGMA wal_autocheckpoint, which moves a long
// WAL into the file inside the commit: whoever waits for the commit would wait for that.
// https://www.sqlite.org/c3ref/wal_hook.html
type walHook struct {
	observer db.Observer
	call     func(tls *libc.TLS, arg, db, name uintptr, frames int32) int32 // kept: C's pointer to it doesn't
	synced   bool                                                           // since it was last cleared
	frames   int32                                                          // the WAL's length since the last checkpoint
}

// newWALHook takes the place of the connection's hook.
func newWALHook(h *handle, observer db.Observer) *walHook {
	w := &walHook{observer: observer}
	w.call = w.committed
	sqlite3.Xsqlite3_wal_hook(h.tls, h.db, address(w.call), 0)
	return w
}

// close gives the hook's place back: the connection outlives us in its closing.
func (w *walHook) close(h *handle) { sqlite3.Xsqlite3_wal_hook(h.tls, h.db, 0, 0) }

func (w *walHook) committed(_ *libc.TLS, _, _, _ uintptr, frames int32) int32 {
	w.synced, w.frames = true, frames
	return sqlite3.SQLITE_OK
}

// checkpoint moves a long WAL into the file. What it can't copy, the next one does.
func (w *walHook) checkpoint(h *handle) {
	if w.frames < checkpointFrames {
		return
	}
	w.frames = 0
	began := time.Now()
	sqlite3.Xsqlite3_wal_checkpoint(h.tls, h.db, 0)
	w.observer.Checkpointed(time.Since(began))
}

// clear returns what happened since it was last called.
func (w *walHook) clear() (synced bool) {
	synced, w.synced = w.synced, false
	return synced
}
