package db

import "time"

// Observer hears what the committer does. Its methods are called from the
// committer's goroutine and must not block.
type Observer interface {
	// Committed: so many operations were committed together. took is from the begin
	// of the transaction to the end of the fsync, if synced says that there was one: a
	// group of repeats writes nothing.
	Committed(operations int, synced bool, took time.Duration)
	// Checkpointed: the WAL was moved into the file, or as much of it as no reader needs.
	Checkpointed(took time.Duration)
	// SlowEffect: an effect of an event of this type took longer than the constant of
	// this name. One that runs again with its group is reported again.
	SlowEffect(typ string)
	// Dead: an event of this type was set aside.
	Dead(typ string)
}

// Stats is how the storage stands. It is read from memory and from the file
// system's books; no row is counted for it.
type Stats struct {
	Pending   int // events that are to run
	Scheduled int // events whose time has not come
	Runnable  int // pending events of accounts that are neither parked nor paused
	Queued    int // operations that wait for the committer
	Epoch     int64
	Unclean   bool  // the last owner did not end in order
	FileBytes int64 // of the database file
	WALBytes  int64
	DiskFree  int64 // bytes that this process may still use; -1: not known
	DiskSize  int64 // bytes of the whole disk; -1: not known
	DiskFull  bool  // events are refused for want of room
	// NextDue is a time before which no scheduled event is due: mostly that of the first
	// one. Zero: nothing is scheduled.
	NextDue time.Time
}
