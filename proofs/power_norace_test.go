//go:build !race

package proofs

const raceSparse = 1
