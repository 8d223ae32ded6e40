package proofs

import (
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestSleep lets a process fall asleep again and again while senders race it: what
// was answered is done when it ends, or else it would wait for the next connection.
func TestSleep(t *testing.T) {
	t.Parallel()
	rounds := 2
	if thorough() {
		rounds = 4
	}
	if long() {
		rounds = 200
	}
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	c := dial(t, dir)
	server.stops()
	// Each request has a connection of its own: one that is kept would keep the process awake.
	c.http.Transport.(*http.Transport).DisableKeepAlives = true
	f := newFleet(t, 7, c, 4, 0)
	for i, s := range f.senders {
		s.next = func(s *sender) event {
			// Their pauses grow, until all of them pause for long enough.
			time.Sleep(rand.N(time.Duration(1+f.answered.Load()) * 8 * time.Millisecond))
			if i > 0 {
				return nextMessage(s)
			}
			s.counter++
			return workEvent("works", s.counter, 60*time.Millisecond) // longer than the process waits
		}
	}
	awake, idle := 0, 20*time.Millisecond
	for round := 0; round < rounds || awake < rounds/2 && round < 4*rounds; round++ {
		server := start(t, dir, "--exit-when-idle", idle.String())
		stop := f.run(server.ready(), true)
		if status := server.ends(); status != 0 {
			t.Errorf("it ends with status %d when it is idle", status)
		}
		stop()
		server.clean()
		if !server.said("nothing to do; ending") || !server.said("stopped") {
			t.Errorf("it ended, and not for sleep:\n%s", server.log())
		}
		if f.answered.Load()+f.repeats.Load() > 0 {
			awake++
		} else {
			idle *= 2 // it is gone before a sender has its connection
		}
		f.judge(t, snapshot(t, dir), true)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds had answers; in the last, with %v of patience: %s", awake, idle, f)
	if awake < rounds/2 {
		t.Errorf("%d rounds had answers, of %d that should: this run proves less than it should", awake, rounds/2)
	}
	// Whatever was left unanswered is taken on waking, once.
	server = start(t, dir)
	stop := f.run(server.ready(), false)
	eventually(t, "the repeats", func() bool { return f.repeats.Load() == int64(len(f.senders)) })
	stop()
	drained(t, dir)
	server.stops()
	f.judge(t, dbFile(dir), true)
}

// TestKilledWhileDraining: a platform whose patience is shorter than --drain kills in
// the middle of it. That is a crash like any other.
func TestKilledWhileDraining(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir)
	server.ready()
	f := newFleet(t, 8, dial(t, dir), 24, 24)
	rounds := 1
	if long() {
		rounds = 20
	}
	for range rounds {
		stop := f.run(server.ready(), true)
		eventually(t, "the load", func() bool { return f.answered.Load() > 200 && f.working() > 0 })
		server.signal(syscall.SIGTERM)
		server.says("stopping")
		time.Sleep(rand.N(200 * time.Millisecond))
		server.crash()
		stop()
		if server.said("stopped") {
			t.Error("it was killed too late: this run proves less than it should")
		}
		server.clean()
		f.judge(t, snapshot(t, dir), false)
		server = start(t, dir)
	}
	stop := f.run(server.ready(), false)
	eventually(t, "the repeats", func() bool { return f.repeats.Load() == int64(len(f.senders)) })
	stop()
	drained(t, dir)
	server.stops()
	f.judge(t, dbFile(dir), true)
}
