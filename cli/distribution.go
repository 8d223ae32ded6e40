package cli

import (
	"fmt"
	"math/rand/v2"
)

// zipfExponent is how steeply zipf falls: the k-th account gets a share of about 1/k^1.1, so that
// the first few have many times what most have.
const zipfExponent = 1.1

// newDistribution returns a function that says, event by event, which of n
// accounts (from 0) the event belongs to. The same arguments give the same order.
func newDistribution(kind string, n int, seed uint64) (func() int, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	switch kind {
	case "even":
		next := -1
		return func() int { next = (next + 1) % n; return next }, nil
	case "random":
		return func() int { return r.IntN(n) }, nil
	case "zipf":
		z := rand.NewZipf(r, zipfExponent, 1, uint64(n-1))
		return func() int { return int(z.Uint64()) }, nil
	}
	return nil, fmt.Errorf("distribution %q: must be even, random or zipf", kind)
}

// clientID names the i-th account of a generated load.
func clientID(i int) string { return fmt.Sprintf("client%026d", i) }
