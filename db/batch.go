package db

// Batch is events that are appended in one transaction, in order.
type Batch struct {
	Events []Event
	// Refused holds the accounts of which an earlier event was refused: theirs are
	// not attempted. AppendBatch adds those that it refuses, so that one Batch after
	// another of a stream can share it. Nil: every event is attempted.
	Refused map[string]bool
}

// AppendResult is the answer to one event of a batch: its receipt, or why there is none.
// The receipt of a repeat has no State and no Result, which may be large: they are what
// DB.Result returns for its Seq.
type AppendResult struct {
	Receipt Receipt
	Err     error // *IDReusedError, ErrAccountFull, ErrBacklogFull or ErrNotAttempted
}
