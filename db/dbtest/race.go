//go:build race

package dbtest

// raceDetector makes each run ten times as slow.
const raceDetector = true
