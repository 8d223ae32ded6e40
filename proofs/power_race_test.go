//go:build race

package proofs

const raced = true

// raceSparse thins the cuts out: the race detector makes each restart ten times as
// slow, and it looks for something else.
const raceSparse = 6
