package api

import (
	"log/slog"
	"time"
)

// ingestion takes events, in every form that they come in: single ones, batches, lines,
// streams, and what HTTP functions make of a request.
type ingestion struct {
	auth
	store     appender
	functions *liveSet
	front     *front
	log       *slog.Logger
	observer  Observer
	now       func() time.Time
	stopping  <-chan struct{} // closed when shutdown begins
	streams   *Streams
	spools    *spools
	rates     *rates // nil: no bound
	maxEvent  int64  // bytes
	maxBody   int64  // bytes of a batch
	maxBatch  int    // events of a batch
}

func newIngestion(o Options, f *front, set *liveSet) *ingestion {
	return &ingestion{
		auth: auth{o.Tokens}, store: o.Store, functions: set, front: f, log: o.Log, observer: o.Observer, now: o.Now,
		stopping: o.Stopping, streams: o.Streams, spools: &spools{stall: spoolStall}, rates: newRates(o.ClientRate, o.ClientBurst),
		maxEvent: o.MaxEvent, maxBody: o.MaxBody, maxBatch: o.MaxBatch,
	}
}

func (g *ingestion) register(r *router) {
	r.handle("POST /v1/events", g.postEvents, "on_error", "answers")
	r.handle("OPTIONS /v1/events", g.handshake, "on_error", "answers")
	r.handle("GET /v1/stream", g.stream, "on_error")
}
