package db

import (
	"crypto/sha256"
	"encoding/hex"
)

// Erasure says which rows of a function's own table belong to a client. Rows is a
// query for their rowids, with the parameter :client_id. It may scan the table: it
// runs beside the writer. Rows that refer to others come first.
type Erasure struct {
	Table string
	Rows  string
}

// EraseReport is what an Erase deleted.
type EraseReport struct {
	Client  string // as EraseMark has it
	Events  int64  // accepted ones, with their results
	Pending int64  // the events that had not run yet, also scheduled ones
	Rows    map[string]int64
	// InWAL: somebody reads an old state of the file, so what was deleted stands in the
	// -wal file until they are done.
	InWAL bool
}

// EraseMark returns the name of an erased client in audit, a hash of its id: it is found by
// the id, which can't be read from it.
func EraseMark(clientID string) string {
	sum := sha256.Sum256([]byte(clientID))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Erasing is how an Erase is called in audit.
const Erasing Verb = "erase"
