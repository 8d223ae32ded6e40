// Package postgres is the storage that package db describes, in a schema of PostgreSQL 15
// or newer.
//
// The life of an event:
//
//	Append   outbox              accepted, and pending: the answer leaves after the commit
//	Hold     accounts            an attempt failed: the event keeps its place
//	Settle   effect, results     done or dead, in one transaction
//	Execute  what an operator does, and its row in audit
//
// One connection, the writer, writes. Its goroutine, the committer, takes what waits as a
// group: all appends of a group are one INSERT, and its effects run side by side, each on a
// goroutine of its own, the next statement of each in one trip to the server (lockstep).
// So a group costs a few round trips and one commit, however many events it has. What an
// operator orders, and housekeeping, has a transaction of its own.
//
// Every transaction begins with the fence: the writer's row, locked FOR SHARE, must have the
// writer's epoch and the pid of its connection. The writer ends with its connection; a
// connection that broke is never used again, and the next process asks the database what
// became of an open COMMIT.
package postgres
