package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// http measures the peers, ingest alone, and ingest with the message function, in turns.
func (b *bench) http() (err error) {
	k := b.newBackends()
	defer func() { err = errors.Join(err, k.stop()) }()
	var costs []cost
	for round := range b.size.rounds {
		for _, p := range peers {
			if (b.o.goals || b.o.brief) && p.store != "json" && (b.o.brief || p.store != "system-b") {
				continue
			}
			if err := b.peer(k, p); err != nil {
				return err
			}
		}
		for _, ids := range []string{rising, random} {
			rate, err := b.ingest(ids, b.size.many, b.size.loop)
			if err != nil {
				return err
			}
			b.rate("ingest, "+ids, rate)
			run, sustained := b.size.loop, ids == rising
			if sustained {
				run = b.size.sustained[round]
			}
			c, err := b.message(ids, b.size.many, run, round == b.size.rounds-1)
			if err != nil {
				return err
			}
			b.rate("message, "+ids, c.Rate)
			if sustained {
				costs = append(costs, c)
				b.note("message", fmt.Sprintf("%v: %d of %d pending at half-time, %d in the end", run, c.half, c.Events, c.pending))
			}
		}
	}
	for _, what := range []string{"ingest", "message"} {
		for _, ids := range []string{rising, random} {
			b.against(what+map[string]string{random: "-random"}[ids], what+", "+ids, "json")
		}
	}
	b.against("system-b", "message, "+rising, "system-b")
	b.Cost = middle(costs)
	b.measured("wal", each(costs, func(c cost) float64 { return c.WAL })...)
	return nil
}

// peer measures one peer at b.many connections.
func (b *bench) peer(k *backends, p peer) error {
	rate, reason, err := b.peerAt(k, p, b.size.many, b.size.peer)
	switch {
	case err != nil:
		return err
	case reason != "":
		b.leaveOut(p.store, reason)
	default:
		b.rate(p.store, rate)
	}
	return nil
}

func (b *bench) peerAt(k *backends, p peer, connections int, run time.Duration) (rate float64, reason string, err error) {
	proc, addr, reason, err := k.startPeer(p)
	if err != nil || reason != "" {
		return 0, reason, err
	}
	defer func() { err = errors.Join(err, proc.stop()) }()
	a, err := b.fire(load{addr, connections, run, rising, "message", 1})
	if err != nil {
		return 0, p.store + ": " + err.Error(), b.ctx.Err()
	}
	return a.Rate(), "", nil
}

// ingest measures appends without processing, on a new file.
func (b *bench) ingest(ids string, connections int, run time.Duration) (rate float64, err error) {
	dir, err := b.folder()
	if err != nil {
		return 0, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	return b.append(s, load{s.addr, connections, run, ids, "work", 1})
}

// append runs the load l and compares the rows in the file with the answers. It returns
// events a second.
func (b *bench) append(s *server, l load) (rate float64, err error) {
	before, err := b.query(s.file, "SELECT coalesce(max(seq), 0) FROM outbox")
	if err != nil {
		return 0, err
	}
	a, err := b.fire(l)
	if err != nil {
		return 0, err
	}
	n, err := b.query(s.file, fmt.Sprintf("SELECT count(*) FROM outbox WHERE seq > %d", before[0]))
	if err != nil {
		return 0, err
	}
	return a.Rate() * float64(l.batch), compare(n[0], a, l)
}

// cost is what an event costs when the message function processes it.
type cost struct {
	Rate    float64 `json:"events_per_second"` // settled
	Events  int64   `json:"events"`
	WAL     float64 `json:"wal_bytes_an_event"`
	Commits float64 `json:"commits_an_event"` // each is one fsync
	CPU     float64 `json:"cpu_micros_an_event"`
	File    float64 `json:"file_bytes_an_event"`

	half, pending int64 // backlog
}

// message measures ingest with the message function and its settle, on a new file.
func (b *bench) message(ids string, connections int, run time.Duration, check bool) (c cost, err error) {
	dir, err := b.folder()
	if err != nil {
		return c, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	stop, err := meterWAL(b.ctx, s.file)
	if err != nil {
		return c, err
	}
	cpu, err := s.cpu()
	if err != nil {
		_, werr := stop()
		return c, errors.Join(err, werr)
	}
	half := make(chan int64, 1)
	look := time.AfterFunc(run/2, func() { half <- b.backlog(s) })
	l := load{s.addr, connections, run, ids, "message", 1}
	a, err := b.fire(l)
	wal, werr := stop()
	after, cerr := s.cpu()
	if err := errors.Join(err, werr, cerr); err != nil {
		look.Stop()
		return c, err
	}
	n, err := b.query(s.file, "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM results), (SELECT count(*) FROM pending)")
	if err != nil {
		return c, err
	}
	if err := compare(n[0], a, l); err != nil {
		return c, err
	}
	c = cost{Events: n[0], half: <-half, pending: n[2]}
	c.Rate = float64(min(n[1], a.OK())) / (float64(a.Micros) / 1e6)
	events := float64(n[0])
	c.WAL, c.Commits = float64(wal.Bytes)/events, float64(wal.Commits)/events
	c.CPU = float64((after - cpu).Microseconds()) / events
	if err := s.stop(); err != nil {
		return c, err
	}
	info, err := os.Stat(s.file)
	if err != nil {
		return c, err
	}
	c.File = float64(info.Size()) / events
	if check {
		err = b.check(s.file)
	}
	return c, err
}

// backlog returns the number of pending events, -1 if it can't be read.
func (b *bench) backlog(s *server) int64 {
	n, err := b.query(s.file, "SELECT count(*) FROM pending")
	if err != nil {
		return -1
	}
	return n[0]
}
