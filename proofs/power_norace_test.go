//go:build !race

package proofs

const raced = false

const raceSparse = 1
