package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// loadRun is a load test while its requests are sent.
type loadRun struct {
	*plan
	*dialer
	head     []byte // of each request, up to the number of Content-Length
	interval time.Duration
	begin    time.Time
	answers  []answer
	late     time.Duration // the most by which the tester itself was late to queue a request
	came     atomic.Int64  // answers
	gone     atomic.Int64  // requests whose connection broke
}

// connecting bounds handshakes at once: they are the dearest part of a connection.
const connecting = 16

// fire connects, then queues each request when it is due, and waits for the answers. It
// returns an error if the server can't be reached at all, or ctx ended.
func (l LoadTest) fire(ctx context.Context, p *plan, progress *meter) (*loadRun, error) {
	if _, err := l.Client.HTTP(); err != nil { // says what is wrong with the URL
		return nil, err
	}
	d, err := l.Client.dialer()
	if err != nil {
		return nil, err
	}
	lt := &loadRun{
		plan: p, dialer: d, answers: make([]answer, len(p.shots)), head: l.requestHead(),
		interval: time.Duration(float64(time.Second) / float64(l.Rate)),
	}
	conns, err := lt.connect(ctx, min(l.Connections, l.Clients))
	if err != nil {
		return nil, err
	}
	// Each connection has a goroutine; cut ends those that still wait.
	sending, cut := context.WithCancel(ctx)
	defer cut()
	wires := make([]*wire, len(conns))
	var running sync.WaitGroup
	for i, conn := range conns {
		w := &wire{lt: lt}
		w.change.L = &w.mu
		wires[i] = w
		running.Go(func() { w.run(sending, conn) })
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	lt.dispatch(ctx, wires, progress)
	for _, w := range wires {
		w.close()
	}
	lt.await(ctx, ended, l.Patience, progress)
	cut()
	<-ended
	return lt, ctx.Err()
}

// connect opens n connections.
func (lt *loadRun) connect(ctx context.Context, n int) ([]net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]net.Conn, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(connecting, n) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				conn, err := lt.dial(ctx)
				if err != nil {
					cancel(fmt.Errorf("connection %d: %w", i+1, err))
					return
				}
				conns[i] = conn
			}
		})
	}
	all.Wait()
	if ctx.Err() == nil {
		return conns, nil
	}
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
	return nil, context.Cause(ctx)
}

func (l LoadTest) requestHead() []byte {
	base, err := url.Parse(l.URL)
	if err != nil { // fire has asked
		return nil
	}
	head := "POST /v1/events HTTP/1.1\r\nHost: " + base.Host + "\r\nContent-Type: application/json\r\n"
	if l.Token != "" {
		head += "Authorization: Bearer " + l.Token + "\r\n"
	}
	return []byte(head + "Content-Length: ")
}

// appendRequest appends shot i as it goes over the wire.
func (lt *loadRun) appendRequest(b []byte, i int32) []byte {
	b = append(b, lt.head...)
	// The length has three digits, or two and a leading zero: it stands before the body.
	at := len(b)
	b = append(b, "000\r\n\r\n"...)
	start := len(b)
	b = lt.appendBody(b, i)
	digits := strconv.AppendInt(make([]byte, 0, 8), int64(len(b)-start), 10)
	copy(b[at+3-len(digits):], digits)
	return b
}

// dispatch queues each shot at its time, whether or not earlier ones are answered.
func (lt *loadRun) dispatch(ctx context.Context, wires []*wire, progress *meter) {
	lt.begin = time.Now()
	for i := 0; i < len(lt.shots); {
		elapsed := time.Since(lt.begin)
		due := min(int(elapsed/lt.interval)+1, len(lt.shots))
		if i < due {
			lt.late = max(lt.late, elapsed-lt.due(i))
		}
		for ; i < due; i++ {
			wires[lt.shots[i].conn].push(int32(i))
		}
		progress.show(int(lt.came.Load()))
		if sleep(ctx, max(time.Until(lt.begin.Add(lt.due(i))), time.Millisecond)) != nil {
			return
		}
	}
}

func (lt *loadRun) due(i int) time.Duration { return time.Duration(i) * lt.interval }

// await waits until every connection has its answers, or for long none came.
func (lt *loadRun) await(ctx context.Context, ended <-chan struct{}, patience time.Duration, progress *meter) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, since := lt.came.Load(), time.Now()
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case now := <-tick.C:
			came := lt.came.Load()
			progress.show(int(came))
			if came != last {
				last, since = came, now
			} else if now.Sub(since) > patience {
				return
			}
		}
	}
}

func (lt *loadRun) answered(i int32, now time.Time, status int, body []byte) {
	a := &lt.answers[i]
	took := now.Sub(lt.begin.Add(lt.due(int(i)))).Microseconds()
	a.micros = uint32(min(max(took, 0), 1<<32-1))
	a.status = uint16(status)
	if status == http.StatusOK || status == http.StatusAccepted {
		a.seq, a.repeat = receipt(body)
	}
	lt.came.Add(1)
}

func (lt *loadRun) lost(n int) { lt.gone.Add(int64(n)) }

// quantiles of values, which it sorts.
type quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// newQuantiles takes microseconds and gives milliseconds.
func newQuantiles(micros []uint32) quantiles {
	if len(micros) == 0 {
		return quantiles{}
	}
	slices.Sort(micros)
	at := func(share float64) float64 {
		return float64(micros[min(int(share*float64(len(micros))), len(micros)-1)]) / 1000
	}
	return quantiles{at(0.5), at(0.95), at(0.99), at(1)}
}
