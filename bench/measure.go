package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// loadReport has the fields of `inturn loadtest --json` that are used.
type loadReport struct {
	Offered  int                        `json:"offered"`
	Overload int                        `json:"refused_overload"`
	Rate     float64                    `json:"answers_per_second"`
	Accept   struct{ P50, P99 float64 } `json:"accept_ms"`
	Done     struct{ P50, P99 float64 } `json:"done_ms"`
	Late     float64                    `json:"tester_late_ms"`
}

// offer runs `inturn loadtest` against a server on a new file.
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

// raw returns the rows a second of the raw writer, in groups of 1,000. A tree from before
// there was more than one engine has it in db.
func (b *bench) raw() (float64, error) {
	pkg := "db/sqlite"
	if _, err := os.Stat(filepath.Join(b.o.tree, pkg)); errors.Is(err, fs.ErrNotExist) {
		pkg = "db"
	}
	return b.goBenchmark(pkg, "BenchmarkRawAppend/1000", b.size.raw, "rows/s")
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

// demo returns makespan / floor of `inturn demo`, which checks order and loss itself.
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

// wide processes a backlog of 10 events in each of many accounts. Its time begins with the
// start of the process.
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

// latency sends one event at a time, and each answer waits for the result.
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

// settle sends an event and returns the time until its result.
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

// pending measures start and memory with a large backlog that is not processed.
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

// idle measures a server with many accounts and nothing to do.
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

func (b *bench) pause(d time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(d):
	}
}
