package sqlite

import (
	"cmp"
	"fmt"
	"strings"
	"sync/atomic"

	"inturn/db/sqlite/internal/conn"
)

// walGrowth says once for each doubling that the WAL grows, and what reads: SQLite begins a
// WAL anew only when nothing reads a state of it any more.
type walGrowth struct {
	said    int                    // frames at the last line, 0: none
	warning atomic.Pointer[string] // nil while said is 0
}

// How long a WAL is, in frames, when its growth is said: behind another program, and where
// none is seen, as the server's own readers are short.
const (
	walBehindOthers = 2 * conn.CheckpointFrames
	walTooLong      = 4 * conn.CheckpointFrames
)

// watchWAL is called after each group with the WAL's length.
func (w groups) watchWAL(frames int) {
	g := &w.growth
	switch {
	case g.said > 0 && frames < conn.CheckpointFrames:
		w.log.Info("the WAL was begun anew", "was", mebibytes(g.said))
		g.said = 0
		g.warning.Store(nil)
	case frames >= max(walBehindOthers, 2*g.said):
		others := w.place.Readers()
		if len(others) == 0 && frames < walTooLong {
			return
		}
		names := make([]string, len(others))
		for i, p := range others {
			names[i] = p.String()
		}
		readers := cmp.Or(strings.Join(names, ", "), "no other process")
		g.said = frames
		w.log.Warn("the WAL grows: it can't be begun anew while an old state of the database is read", "wal", mebibytes(frames), "readers", readers)
		warning := fmt.Sprintf("the write-ahead log has grown past %s, as an old state of the database is being read: %s", mebibytes(frames), readers)
		g.warning.Store(&warning)
	}
}

func mebibytes(frames int) string {
	const frame = 4096 + 24 // bytes
	return fmt.Sprintf("%d MiB", frames*frame>>20)
}

// Warning says for people what is wrong while events are taken; "" for nothing.
func (d *DB) Warning() string {
	if warning := d.w.growth.warning.Load(); warning != nil {
		return *warning
	}
	return ""
}
