package proofs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// What a server may cost under every attack here. The bodies and streams that it
// holds are bounded by about 450 MiB; the rest is connections and the collector's share.
const (
	mostMemory  = 1 << 30 // bytes, resident
	mostThreads = 100
	fewerFiles  = 8 // that may be open more than before an attack
)

// How much longer an ordinary client may wait during an attack, which takes its share
// of the same processors, than in peace.
const (
	medianTimes = 50
	p99Times    = 200
)

// canary stands in the payloads of attacks, and must not stand in the log.
const canary = "CANARY-of-a-hostile-payload"

// Everything a hostile client does here ends in a clear answer or a closed connection,
// at a bounded cost, while an ordinary client is served as always.
func TestHostileClients(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "--log-level", "debug", "--drain", "1s")
	s := &siege{t: t, p: p, url: p.ready()}
	s.addr = strings.TrimPrefix(s.url, "https://")
	s.kept = dial(t, dir)
	s.tls = s.kept.http.Transport.(*http.Transport).TLSClientConfig
	t.Cleanup(s.kept.http.CloseIdleConnections)

	s.calm = s.bystander(100, nil)
	attacks := []attack{
		{"idle connections", idle},
		{"slow headers", slowHeaders},
		{"slow bodies", slowBodies},
		{"no HTTP at all", noHTTP},
		{"requests cut in the middle", cutRequests},
		{"hostile JSON", hostileJSON},
		{"long headers", longHeaders},
		{"pipelining", pipelining},
		{"a line without an end", endlessLine},
		{"half frames", halfFrames},
		{"wrong frames", wrongFrames},
		{"h2: many streams", manyStreams},
		{"h2: rapid reset", rapidReset},
		{"h2: headers without an end", endlessHeaders},
		{"h2: pings", frameFlood("ping")},
		{"h2: settings", frameFlood("settings")},
		{"h2: priorities", frameFlood("priority")},
		{"h2: answers that are not read", closedWindow},
	}
	s.under("all at once", attacks...)
	if long() {
		for _, a := range attacks {
			s.under(a.name, a)
		}
		s.under("bodies that stop before their end", attack{"", heldBodies})
		for _, a := range []attack{
			{"slow headers are cut off", slowHeadersAreCut},
			{"slow bodies are cut off", slowBodiesAreCut},
			{"half frames are cut off", halfFramesAreCut},
		} {
			s.under(a.name, a)
		}
	}
	drained(t, dir)
	if u, ok := p.usage(); ok {
		t.Logf("at the end: %v; peak of all %d MiB", u, u.peak>>20)
	}
	p.stops()
	s.judge()
}

// siege is a server, its ordinary client, and what that client knows.
type siege struct {
	t         testing.TB
	p         *process
	url, addr string
	tls       *tls.Config
	kept      *client // ordinary: HTTP/1.1 on one connection

	sent      atomic.Int64 // events of the ordinary client, all accepted
	pipelined atomic.Int64 // events of pipelining that were answered
	failed    atomic.Bool  // an event of the ordinary client was not accepted
	calm      pace
}

type attack struct {
	name string
	run  func(*assault) error
}

// assault is one run of an attack. Its connections are closed when it has ended.
type assault struct {
	*siege
	mu    sync.Mutex
	conns []net.Conn
}

// pace is how fast the ordinary client was answered.
type pace struct {
	n           int
	median, p99 time.Duration
}

// bystander sends at least n events one after another, and on until quit is closed.
func (s *siege) bystander(n int, quit <-chan struct{}) pace {
	var times []time.Duration
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for running := quit != nil; len(times) < n || running; {
		select {
		case <-quit:
			running, quit = false, nil
		case <-tick.C:
		}
		c := s.kept
		if len(times)%8 == 7 {
			c = s.fresh()
		}
		k := int(s.sent.Load())
		began := time.Now()
		ev := messageEvent("ordinary-"+strconv.Itoa(k%10), k, k%3)
		a, err := c.post(context.Background(), s.url, ev)
		times = append(times, time.Since(began))
		if err != nil || !a.taken() {
			s.t.Errorf("the ordinary client's event %d after %v: %v, answered %d %s %s (kept connection: %v)",
				k, time.Since(began), err, a.Status, a.Type, a.Detail, c == s.kept)
			s.failed.Store(true)
			break
		}
		s.sent.Add(1)
	}
	slices.Sort(times)
	at := func(p float64) time.Duration { return times[min(len(times)-1, int(p*float64(len(times))))] }
	return pace{len(times), at(0.5), at(0.99)}
}

// fresh is an ordinary client that speaks HTTP/2 on a connection of its own. It has a
// transport of its own too: with DisableKeepAlives alone net/http may still choose a
// pooled HTTP/2 connection that is just ending, and then can't send the body again.
func (s *siege) fresh() *client {
	return &client{http: &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}}
}

// meanwhile returns when the ordinary client has been answered n more times.
func (s *siege) meanwhile(n int64) error {
	limit := time.Now().Add(patience)
	for goal := s.sent.Load() + n; s.sent.Load() < goal; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) || s.failed.Load() {
			return errors.New("the ordinary client is not served")
		}
	}
	return nil
}

// under runs attacks at the same time, and judges what they cost and what the
// ordinary client felt.
func (s *siege) under(name string, attacks ...attack) {
	before, measured := s.p.usage()
	quit := make(chan struct{})
	var watched sync.WaitGroup
	var got pace
	worst := before
	watched.Go(func() { got = s.bystander(40, quit) })
	watched.Go(func() {
		for {
			if u, ok := s.p.usage(); ok {
				worst = usage{max(worst.memory, u.memory), u.peak, max(worst.threads, u.threads), max(worst.files, u.files)}
			}
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	var running sync.WaitGroup
	for _, a := range attacks {
		running.Go(func() {
			now := &assault{siege: s}
			defer now.hangUp()
			if err := a.run(now); err != nil {
				s.t.Errorf("%s: %s: %v", name, a.name, err)
			}
		})
	}
	running.Wait()
	close(quit)
	watched.Wait()
	s.t.Logf("%-34s %4d events, median %v, p99 %v (in peace %v, %v); %v", name, got.n,
		got.median.Round(10*time.Microsecond), got.p99.Round(10*time.Microsecond),
		s.calm.median.Round(10*time.Microsecond), s.calm.p99.Round(10*time.Microsecond), worst)
	if got.median > medianTimes*s.calm.median || got.p99 > p99Times*s.calm.p99 {
		s.t.Errorf("%s: the ordinary client waited more than %d times (p99: %d times) longer than in peace", name, medianTimes, p99Times)
	}
	if !measured {
		return
	}
	if worst.memory > mostMemory || worst.threads > mostThreads {
		s.t.Errorf("%s: the server took %v", name, worst)
	}
	eventually(s.t, "the end of the connections of "+name, func() bool {
		u, _ := s.p.usage()
		return u.files <= before.files+fewerFiles
	})
}

// judge asks the file and the log once the server has ended.
func (s *siege) judge() {
	t := s.t
	if out, err := inturn(t, "check", "--db", dbFile(s.p.dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
	file, err := file.OpenReadOnly(t.Context(), filepath.Clean(dbFile(s.p.dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, want := range []struct {
		clients string
		n       int64
	}{{"ordinary-%", s.sent.Load()}, {"pipelined-%", s.pipelined.Load()}, {"cut%", 0}} {
		var n int64
		if err := file.QueryRow("SELECT count(*) FROM outbox WHERE client_id LIKE ?", want.clients).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != want.n {
			t.Errorf("the file has %d events of %s, want %d", n, want.clients, want.n)
		}
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for _, l := range s.p.lines {
		if strings.Contains(l.text, canary) {
			t.Errorf("a payload stands in the log: %.300s", l.text)
		}
	}
}

// usage is what a process takes of the machine.
type usage struct {
	memory, peak   int64 // bytes, resident
	threads, files int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB, %d threads, %d files", u.memory>>20, u.threads, u.files)
}

// usage is known where there is /proc (proc(5)).
func (p *process) usage() (u usage, ok bool) {
	folder := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	status, err := os.ReadFile(folder + "status")
	if err != nil {
		return u, false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			u.memory = n << 10
		case "VmHWM":
			u.peak = n << 10
		case "Threads":
			u.threads = int(n)
		}
	}
	files, err := os.ReadDir(folder + "fd")
	u.files = len(files)
	return u, err == nil
}

// connect opens a connection that speaks proto, one of ALPN's names.
func (a *assault) connect(proto string) (*tls.Conn, error) {
	config := a.tls.Clone()
	config.NextProtos, config.ClientSessionCache = []string{proto}, nil
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", a.addr, config)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	a.mine(c)
	return c, nil
}

func (a *assault) mine(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = append(a.conns, c)
}

// hangUp closes all connections without a word (RST).
func (a *assault) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		abort(c)
	}
}

func abort(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// many is a count at its documented size, or where a person waits a smaller one.
func many(documented, quick int) int {
	if thorough() {
		return documented
	}
	return quick
}
