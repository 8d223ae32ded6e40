package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// http alternates the peers, ingest alone, and ingest with the message function.
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

// peer measures one of the peers at many connections.
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

// ingest measures appends alone, on a new file.
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

// append fires l and compares the rows that came with the answers. Its rate is in
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

// cost is what the message function's whole processing took.
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

// backlog is -1 where it can't be read.
func (b *bench) backlog(s *server) int64 {
	n, err := b.query(s.file, "SELECT count(*) FROM pending")
	if err != nil {
		return -1
	}
	return n[0]
}

// loadReport is what `inturn loadtest --json` prints, as far as it is used.
type loadReport struct {
	Offered  int                        `json:"offered"`
	Overload int                        `json:"refused_overload"`
	Rate     float64                    `json:"answers_per_second"`
	Accept   struct{ P50, P99 float64 } `json:"accept_ms"`
	Done     struct{ P50, P99 float64 } `json:"done_ms"`
	Late     float64                    `json:"tester_late_ms"`
}

// offer runs System B's tester against a server on a new file.
func (b *bench) offer(rate int, run time.Duration) (r loadReport, err error) {
	dir, err := b.folder()
	if err != nil {
		return r, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	text, err := b.output(run+3*time.Minute, b.inturn, "loadtest", "--url", "https://"+s.addr, "--cacert", filepath.Join(b.dir, "tls", "ca.pem"),
		"--rate", strconv.Itoa(rate), "--duration", run.String(), "--json")
	if err != nil {
		return r, err
	}
	err = json.Unmarshal([]byte(text), &r)
	return r, err
}

func (b *bench) openLoop() error {
	r, err := b.offer(b.size.openRate, b.size.open)
	if err != nil {
		return err
	}
	b.measured("open-refused", float64(r.Overload))
	b.measured("open-p99", r.Done.P99)
	b.note("open-p99", fmt.Sprintf("%d/s offered for %v, %.0f/s accepted; accept p50 %.1f, p99 %.1f ms from when due; done p50 %.1f ms; tester late by %.1f ms at most",
		b.size.openRate, b.size.open, r.Rate, r.Accept.P50, r.Accept.P99, r.Done.P50, r.Late))
	return nil
}

// raw is the raw writer's rows a second in groups of 1,000.
func (b *bench) raw() (float64, error) {
	return b.goBenchmark("db", "BenchmarkRawAppend/1000", b.size.raw, "rows/s")
}

func (b *bench) batches() error {
	for range b.size.rounds {
		raw, err := b.raw()
		if err != nil {
			return err
		}
		b.rate("raw writer, beside batches", raw)
		rate, err := b.batch()
		if err != nil {
			return err
		}
		b.rate("batches of 100", rate)
	}
	b.against("batches", "batches of 100", "raw writer, beside batches")
	return nil
}

func (b *bench) batch() (rate float64, err error) {
	dir, err := b.folder()
	if err != nil {
		return 0, err
	}
	s, err := b.serve(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	return b.append(s, load{s.addr, 32, b.size.loop, rising, "work", 100})
}

// The rates that drain measures.
const (
	rawWriter   = "raw writer, beside drains"
	drainSpread = "drain, 1,000 accounts"
	drainOne    = "drain, one account"
)

func (b *bench) drain() error {
	for range b.size.rounds {
		rate, err := b.raw()
		if err != nil {
			return err
		}
		b.rate(rawWriter, rate)
		if rate, err = b.goBenchmark("runner", "BenchmarkDrain/accounts=1000", b.size.drain, "events/s"); err != nil {
			return err
		}
		b.rate(drainSpread, rate)
		if rate, err = b.goBenchmark("runner", "BenchmarkDrain/accounts=1", b.size.drain, "events/s"); err != nil {
			return err
		}
		b.rate(drainOne, rate)
	}
	b.against("drain", drainSpread, rawWriter)
	b.against("drain-one", drainOne, drainSpread)
	return nil
}

// demo returns makespan / floor of `inturn demo`, which judges order and loss itself.
func (b *bench) demo(events, accounts int, distribution string) (float64, error) {
	text, err := b.output(10*time.Minute, b.inturn, "demo", "--events", strconv.Itoa(events), "--accounts", strconv.Itoa(accounts),
		"--work", b.size.demoWork.String(), "--distribution", distribution, "--json")
	if err != nil {
		return 0, err
	}
	var v struct{ Ratio float64 }
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.Ratio <= 0 {
		return 0, fmt.Errorf("demo: no ratio in %q: %v", text, err)
	}
	return v.Ratio, nil
}

func (b *bench) systemA() error {
	for _, distribution := range []string{"even", "random"} {
		for range b.size.demoRounds {
			ratio, err := b.demo(b.size.demoEvents, b.size.demoAcc, distribution)
			if err != nil {
				return err
			}
			b.measured("system-a-"+distribution, ratio)
		}
	}
	return nil
}

// wide works off a backlog of 10 events in each of many accounts. What it takes is
// counted from the start of the process.
func (b *bench) wide() (err error) {
	const each = 10
	dir, err := b.folder()
	if err != nil {
		return err
	}
	p := prepared{accounts: b.size.wideAcc, each: each, pending: true, apart: true, kind: "work",
		payload: fmt.Sprintf(`{"ms":%d}`, b.size.wideWork.Milliseconds())}
	if err := b.prepare(dir, p); err != nil {
		return err
	}
	s, err := b.serve(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	floor := each * b.size.wideWork
	for deadline := time.Now().Add(3*floor + time.Minute); ; {
		n, err := b.query(s.file, "SELECT count(*), coalesce(max(finished_at), 0) FROM results")
		if err != nil {
			return err
		}
		if n[0] == int64(p.accounts*each) {
			b.measured("wide", float64(time.UnixMicro(n[1]).Sub(s.began))/float64(floor))
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d events were done in %v", n[0], p.accounts*each, 3*floor+time.Minute)
		}
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(min(time.Second, floor)):
		}
	}
}

// latency sends one event at a time and has the answer wait for the result.
func (b *bench) latency() (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	s, err := b.serve(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	var d, f quantile
	for round := range b.size.rounds {
		var done, syncs []time.Duration
		for i := range b.size.latency {
			one, err := fsyncs(b.dir, 1)
			if err != nil {
				return err
			}
			syncs = append(syncs, one...)
			body := fmt.Appendf(nil, `{"client_id":"client%d","message_id":"%d-%d","payload":{"phone":"+70000000001","text":"hello"}}`, i%1000, round, i)
			took, err := settle(client, "https://"+s.addr+"/v1/events", body)
			if err != nil {
				return err
			}
			if i > 0 { // the first one connects
				done = append(done, took)
			}
		}
		d, f = quantiles(done), quantiles(syncs)
		b.measured("latency", d.P50/f.P50)
	}
	inside, err := b.query(s.file, `SELECT r.finished_at - o.received_at FROM results r JOIN outbox o ON o.seq = r.seq
		ORDER BY 1 LIMIT 1 OFFSET (SELECT count(*) / 2 FROM results)`)
	if err != nil {
		return err
	}
	b.note("latency", fmt.Sprintf("%.2f ms, p99 %.2f ms, from the request to an answer with the result; received_at to finished_at, which is before the second fsync, %.2f ms; an fsync %.2f ms (last round)",
		d.P50, d.P99, float64(inside[0])/1000, f.P50))
	return nil
}

// settle sends an event and returns how long its result took.
func settle(client *http.Client, url string, body []byte) (time.Duration, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "wait=30")
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	took := time.Since(began)
	if err == nil && !bytes.Contains(text, []byte(`"state":"done"`)) {
		err = fmt.Errorf("answer %s %s", resp.Status, text)
	}
	return took, err
}

// pending starts on a large backlog that waits.
func (b *bench) pending() error {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	err = b.prepare(dir, prepared{accounts: b.size.pendingAcc, each: b.size.pendingEach, pending: true, apart: true, kind: "work",
		payload: `{"ms":60000,"phone":"+70000000001","text":"hello there, this is message number 1"}`})
	if err != nil {
		return err
	}
	for range b.size.rounds {
		s, err := b.serve(dir)
		if err != nil {
			return err
		}
		b.measured("ready", s.ready.Seconds())
		b.pause(min(5*time.Second, b.size.idle))
		rss, err := s.rss()
		if err = errors.Join(err, s.stop()); err != nil {
			return err
		}
		b.measured("memory", float64(rss)/1e6)
	}
	return nil
}

// idle looks at a server with many accounts and nothing to do.
func (b *bench) idle() (err error) {
	dir, err := b.folder()
	if err != nil {
		return err
	}
	p := prepared{accounts: b.size.idleAcc, each: 1, kind: "work", payload: `{"ms":0,"phone":"+70000000001","text":"hello"}`}
	if err := b.prepare(dir, p); err != nil {
		return err
	}
	s, err := b.serve(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	for range b.size.rounds {
		b.pause(b.size.idle / 5)
		before, err := s.cpu()
		if err != nil {
			return err
		}
		began := time.Now()
		b.pause(b.size.idle / 3)
		after, err := s.cpu()
		if err != nil {
			return err
		}
		b.measured("idle", 100*float64(after-before)/float64(time.Since(began)))
	}
	return nil
}

// rows measures ingest on files that are large already.
func (b *bench) rows() error {
	var dirs []string
	for _, n := range b.size.rows {
		dir, err := b.folder()
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		p := prepared{accounts: 1000, each: n / 1000, kind: "work", payload: `{"ms":0,"phone":"+70000000001","text":"hello there, this is message number 1"}`}
		if err := b.prepare(dir, p); err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	name := func(n int) string { return "ingest at " + thousands(n) + " rows" }
	for range b.size.rounds {
		for i, n := range b.size.rows {
			// What the last round left pending is none of this one's concern.
			if err := b.sqlite(databaseIn(dirs[i]), "DELETE FROM pending"); err != nil {
				return err
			}
			s, err := b.serve(dirs[i])
			if err != nil {
				return err
			}
			rate, err := b.append(s, load{s.addr, b.size.many, b.size.loop, rising, "work", 1})
			if err = errors.Join(err, s.stop()); err != nil {
				return err
			}
			b.rate(name(n), rate)
		}
	}
	last := len(b.size.rows) - 1
	b.against("rows", name(b.size.rows[last]), name(b.size.rows[last-1]))
	b.note("rows", fmt.Sprintf("%s against %s rows", thousands(b.size.rows[last]), thousands(b.size.rows[last-1])))
	p := plot{Name: "rows", Title: "Ingest against rows in the outbox", X: "rows", Y: "events/s", LogX: true}
	for _, n := range b.size.rows {
		p.add("ingest", float64(n), median(b.Rates[name(n)]))
	}
	b.plot(p)
	return nil
}

// connections draws throughput against the number of connections.
func (b *bench) connections() (err error) {
	k := b.newBackends()
	defer func() { err = errors.Join(err, k.stop()) }()
	p := plot{Name: "connections", Title: "Throughput against connections", X: "connections", Y: "events/s", LogX: true}
	run := min(2*time.Second, b.size.loop)
	for _, n := range b.size.connections {
		for _, peer := range peers {
			if peer.store == "null" {
				continue
			}
			rate, reason, err := b.peerAt(k, peer, n, run)
			switch {
			case err != nil:
				return err
			case reason != "":
				b.leaveOut(peer.store, reason)
			default:
				p.add(peer.store, float64(n), rate)
			}
		}
		rate, err := b.ingest(rising, n, run)
		if err != nil {
			return err
		}
		p.add("inturn, ingest", float64(n), rate)
		c, err := b.message(rising, n, run, false)
		if err != nil {
			return err
		}
		p.add("inturn, message", float64(n), c.Rate)
	}
	b.plot(p)
	return nil
}

// rates draws latencies against the rate that is offered.
func (b *bench) rates() error {
	p := plot{Name: "rates", Title: "Latency against the offered rate", X: "offered/s", Y: "ms", LogY: true}
	for _, rate := range b.size.rates {
		r, err := b.offer(rate, b.size.rate)
		if err != nil {
			return err
		}
		x := float64(rate)
		p.add("accept p50", x, r.Accept.P50)
		p.add("accept p99", x, r.Accept.P99)
		p.add("done p50", x, r.Done.P50)
		p.add("done p99", x, r.Done.P99)
	}
	b.plot(p)
	return nil
}

// accounts draws System A's makespan against the number of accounts, 10 events each.
func (b *bench) accounts() error {
	p := plot{Name: "accounts", Title: "Makespan / floor against accounts of 10 events", X: "accounts", Y: "makespan / floor", LogX: true}
	for _, n := range b.size.accounts {
		ratio, err := b.demo(10*n, n, "even")
		if err != nil {
			return err
		}
		p.add("inturn demo", float64(n), ratio)
	}
	b.plot(p)
	return nil
}

func (b *bench) pause(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}
