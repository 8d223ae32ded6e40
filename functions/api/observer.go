package api

import "net/http"

// Observer counts. Its methods are called by many goroutines and must not block.
type Observer interface {
	// Offered: an event was offered, with this result: new, duplicate, conflict,
	// invalid, not-attempted or refused.
	Offered(result string)
	// Problem: a problem of this name, as it stands in the answer's type, was answered,
	// to a request or to one event of many.
	Problem(name string)
}

type nobody struct{}

func (nobody) Offered(string) {}
func (nobody) Problem(string) {}

// result returns the result of an event that was refused by p, for Observer.Offered.
func (p *problem) result() string {
	switch {
	case p.kind == idReused:
		return "conflict"
	case p.kind == notAttempted:
		return "not-attempted"
	case p.status == http.StatusBadRequest, p.status == http.StatusRequestEntityTooLarge, p.status == http.StatusUnsupportedMediaType:
		return "invalid"
	}
	return "refused"
}

// offered tells o of an event that was taken, or is a repeat of one.
func offered(o Observer, duplicate bool) {
	result := "new"
	if duplicate {
		result = "duplicate"
	}
	o.Offered(result)
}
