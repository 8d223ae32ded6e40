package db

// MaxBatchOutput bounds the results of repeats that a batch's answers carry, in bytes.
const MaxBatchOutput = 4 << 20

// Batch is events that are appended in one transaction, in order.
type Batch struct {
	Events []Event
	// Refused holds the accounts of which an earlier event was refused: theirs are
	// not attempted. AppendBatch adds those that it refuses, so that one Batch after
	// another of a stream can share it. Nil: every event is attempted.
	Refused map[string]bool
}

// AppendResult is the answer to one event of a batch: its receipt, or why there is none.
type AppendResult struct {
	Receipt Receipt
	Err     error // *IDReusedError, ErrAccountFull, ErrBacklogFull or ErrNotAttempted
}
