// Package db is the contract between the packages that accept and run events and the
// storage that keeps events: plain types, errors, and the Tx that effects get. It knows no storage, and
// no driver; of database/sql it has the types that sqlc's generated code asks of a Tx.
//
// The life of an event:
//
//	Append   accepted: durable, with its place in its account's order, and pending; or
//	         scheduled (Event.DeliverAt): durable, and without a place until its time has come
//	Settle   its effect and its result, in one transaction: done, or dead
//	Hold     an attempt failed: the event keeps its place at the head of its account
//	Execute  an operator skips or cancels it, or has it run again: a new run of the same event
//
// What is asked of a storage, and with which errors, is written where it is asked: in the
// interface Store of package functions/api (accept, read, operate), store of package
// runner (run) and storage of package metrics (watch). Every storage guarantees:
//
//   - A method that writes returns nil only after its commit is on the disk. After another
//     error than ErrOutcomeUnknown, nothing of it is there.
//   - An identity (ClientID, MessageID) is accepted once while its event is kept.
//   - Positions of an account grow in the order in which its events were accepted; seq and
//     position are never used again, also where a process was killed.
//   - A scheduled event gets the next position of its account once the wall clock has reached
//     DeliverAt, among those that are due the earlier one first, and of one time the one that
//     was accepted first. It is handed over then, as a new event is, and not before. A clock
//     that jumps makes it early or late, never lost or twice. What was due while no process
//     had the database is handed over by the first OnAppend; it is not in the Backlog.
//   - New events, and changes of an account that the runner must know, are handed over
//     after their commit and in the order of commits.
//   - An effect commits with the result of its event or not at all. Where it fails, only
//     its own event is concerned.
//   - Each transaction that writes is fenced: once another process owns the database
//     (ErrFenced) nothing more is written.
//   - Whatever waits is bounded, and refused with ErrOverloaded, ErrBacklogFull,
//     ErrAccountFull or ErrStorageFull before it is executed. What was accepted can still be
//     settled then.
package db
