package api

import (
	"context"
	"errors"
	"sync"
)

// Bounds of what one stream has read ahead. A group is what came while the last one
// was written; at least one event fits whatever its size. Where many streams are open their
// groups are smaller: all together have about allGroupItems, each of which takes 1 KiB.
const (
	groupItems    = 512
	minGroupItems = 32
	allGroupItems = 8 << 10
	groupBytes    = 256 << 10
)

// errStopped: nothing more is taken.
var errStopped = errors.New("the stream has ended")

// frameQueue is between the goroutine that reads a stream and the one that makes events
// durable: one puts, the other takes all that is there. Both wait for each other,
// which is what makes a sender feel that the storage is busy, or that it doesn't
// read its answers.
type frameQueue struct {
	streams *Streams

	mu      sync.Mutex
	changed sync.Cond
	next    group
	holding int  // bytes of events that were read and not answered
	busy    bool // a group is being answered
	ended   bool // nothing more is put
	stopped bool // nothing more is taken
}

// group is events as they were read, one after another in one buffer.
type group struct {
	buf  []byte
	raws []raw
}

// raw is an event as it was read, or why there is none.
type raw struct {
	end     int // in buf
	problem *problem
}

func newFrameQueue(s *Streams) *frameQueue {
	in := &frameQueue{streams: s}
	in.changed.L = &in.mu
	return in
}

// each calls fn for the events of g in order.
func (g *group) each(fn func(body []byte, p *problem)) {
	begin := 0
	for _, r := range g.raws {
		fn(g.buf[begin:r.end], r.problem)
		begin = r.end
	}
}

// put adds an event, or in its place a problem, and waits first until there is room.
func (in *frameQueue) put(ctx context.Context, body []byte, p *problem) error {
	if err := in.streams.waitRoom(ctx); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.stopped && !in.ended && len(in.next.raws) > 0 && (len(in.next.raws) >= in.streams.groupItems() || len(in.next.buf)+len(body) > groupBytes) {
		in.changed.Wait()
	}
	if in.stopped || in.ended {
		return errStopped
	}
	in.streams.hold(len(body))
	in.holding += len(body)
	in.next.buf = append(in.next.buf, body...)
	in.next.raws = append(in.next.raws, raw{len(in.next.buf), p})
	in.changed.Broadcast()
	return nil
}

// end says that nothing more will be put. What was put is still taken.
func (in *frameQueue) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	in.changed.Broadcast()
}

// take waits for events and swaps what is there with g, whose events have been
// answered. False: there will be none.
func (in *frameQueue) take(g *group) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.stopped {
		in.streams.release(len(g.buf))
		in.holding -= len(g.buf)
	}
	g.raws = g.raws[:0]
	if g.buf = g.buf[:0]; cap(g.buf) > firstRead {
		g.buf = nil // an idle stream keeps no large buffer
	}
	in.busy = false
	in.changed.Broadcast()
	for len(in.next.raws) == 0 && !in.ended && !in.stopped {
		in.changed.Wait()
	}
	if len(in.next.raws) == 0 || in.stopped {
		return false
	}
	in.next, *g = *g, in.next
	in.busy = true
	in.changed.Broadcast()
	return true
}

// idle waits until everything that was put has been answered.
func (in *frameQueue) idle() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for (in.busy || len(in.next.raws) > 0) && !in.stopped {
		in.changed.Wait()
	}
}

// stop ends both sides; what was not answered never will be.
func (in *frameQueue) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.stopped {
		in.streams.release(in.holding)
		in.holding, in.stopped = 0, true
	}
	in.changed.Broadcast()
}
