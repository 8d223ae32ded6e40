package commit

// Class says whose fault an error inside a transaction is, and so what becomes of the group.
// The rules stand at Committer.commit.
type Class int

const (
	Own            Class = iota // of one operation: its neighbours are not concerned
	Busy                        // another connection writes
	Full                        // no space, or none of a quota
	IO                          // the disk fails; at the COMMIT, where db.ErrOutcomeUnknown is in the error
	Corrupt                     // the store is damaged
	Fenced                      // another process owns the store, or it is not at its place
	TxAborted                   // an operation has ended the whole transaction
	WithSavepoints              // something failed in a group without savepoints
)

// Error ends the transaction of a group.
type Error struct {
	Class Class
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }
