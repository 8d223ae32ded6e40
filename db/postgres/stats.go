package postgres

import (
	"sync/atomic"
	"time"

	"inturn/db"
)

type nobody struct{}

func (nobody) Committed(int, bool, time.Duration) {}
func (nobody) Checkpointed(time.Duration)         {}
func (nobody) SlowEffect(string)                  {}
func (nobody) Dead(string)                        {}

// standing is what of Stats the committer publishes after each group.
type standing struct{ pending, runnable atomic.Int64 }

// Warning says for people what is wrong while events are taken: nothing that this process
// knows of.
func (d *DB) Warning() string { return "" }

// Stats returns it, in time that does not grow with what is stored. What is known of files
// and disks is the server's: those fields are 0, or -1 for not known.
func (d *DB) Stats() db.Stats {
	queued, full := d.committer.Stats()
	return db.Stats{
		Pending: int(d.standing.pending.Load()), Runnable: int(d.standing.runnable.Load()), Queued: queued,
		Epoch: d.w.epoch, Unclean: d.found.unclean, DiskFree: -1, DiskSize: -1, DiskFull: full,
	}
}
