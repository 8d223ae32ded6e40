package db

import (
	"time"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// checkpointFrames is the length of the WAL, in pages, from which a commit moves it
// into the file: 16 MiB. The hot pages of many groups are then copied once instead
// of many times.
const checkpointFrames = 4096

// walHook is told by SQLite of every commit that wrote into the WAL, after its sync.
// It does what SQLite's own hook does, PRAGMA wal_autocheckpoint, and takes the time.
// https://www.sqlite.org/c3ref/wal_hook.html
type walHook struct {
	observer Observer
	call     func(tls *libc.TLS, arg, db, name uintptr, frames int32) int32 // kept: C's pointer to it doesn't
	synced   bool                                                           // since it was last cleared
	took     time.Duration                                                  // of checkpoints, since then
}

// newWALHook takes the place of the connection's hook.
func newWALHook(h *handle, observer Observer) *walHook {
	w := &walHook{observer: observer}
	w.call = w.committed
	sqlite3.Xsqlite3_wal_hook(h.tls, h.db, address(w.call), 0)
	return w
}

// close gives the hook's place back: the connection outlives us in its closing.
func (w *walHook) close(h *handle) { sqlite3.Xsqlite3_wal_hook(h.tls, h.db, 0, 0) }

// committed never fails: the commit is done. What a checkpoint can't copy, the next
// one does.
func (w *walHook) committed(tls *libc.TLS, _, db, name uintptr, frames int32) int32 {
	w.synced = true
	if frames >= checkpointFrames {
		began := time.Now()
		sqlite3.Xsqlite3_wal_checkpoint(tls, db, name)
		took := time.Since(began)
		w.took += took
		w.observer.Checkpointed(took)
	}
	return sqlite3.SQLITE_OK
}

// clear returns what happened since it was last called.
func (w *walHook) clear() (synced bool, checkpoints time.Duration) {
	synced, checkpoints = w.synced, w.took
	w.synced, w.took = false, 0
	return synced, checkpoints
}
