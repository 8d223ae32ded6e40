package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

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
