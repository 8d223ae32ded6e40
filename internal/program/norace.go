//go:build !race

package program

// Raced reports whether the tests run with the race detector.
const Raced = false
