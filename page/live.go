package page

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	liveEvery   = time.Second      // the time from one look to the next
	liveReaders = 100              // at once
	liveIdle    = 15 * time.Second // after which a comment shows that the connection lives
	liveWrite   = 10 * time.Second // that a browser may leave an event unread
)

// cache keeps what several readers of one view see in the same second, so that many pages ask
// the server no more often than one. A view that takes long is made the less often: its reads
// take a twentieth of the time at most.
type cache struct {
	now   func() time.Time
	slots chan struct{} // of readers

	mu   sync.Mutex
	byID map[string]*cached
}

type cached struct {
	mu   sync.Mutex
	next time.Time // it is not made again before
	html []byte
	err  error
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, slots: make(chan struct{}, liveReaders), byID: map[string]*cached{}}
}

// get returns what make makes, or made for another reader in this second.
func (c *cache) get(id string, make func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	one := c.byID[id]
	if one == nil {
		if len(c.byID) > liveReaders {
			clear(c.byID)
		}
		one = &cached{}
		c.byID[id] = one
	}
	c.mu.Unlock()
	one.mu.Lock()
	defer one.mu.Unlock()
	if begin := c.now(); !begin.Before(one.next) {
		one.html, one.err = make()
		one.next = begin.Add(max(liveEvery*9/10, 20*c.now().Sub(begin)))
	}
	return one.html, one.err
}

// live is GET /live: server-sent events with the part of a view that moves, as HTML, whenever
// it has changed.
func (p *Page) live(v *visit) error {
	q := v.r.URL.Query()
	var fragment func() ([]byte, error)
	switch view := q.Get("view"); view {
	case "overview":
		fragment = func() ([]byte, error) { return p.fragment(view, func() (any, error) { return v.moving() }) }
	case "account":
		fragment = func() ([]byte, error) {
			return p.fragment(view, func() (any, error) { return v.lane(q.Get("client_id")) })
		}
	default:
		return &problem{Status: http.StatusNotFound, Title: "Not found", Detail: "This view doesn't move."}
	}
	select {
	case p.fresh.slots <- struct{}{}:
		defer func() { <-p.fresh.slots }()
	default:
		return &problem{Status: http.StatusServiceUnavailable, Title: "Too many pages are open", Detail: "This page stays as it is: load it again to see what has changed."}
	}
	id := v.token + " " + v.r.URL.RawQuery
	html, err := p.fresh.get(id, fragment)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	p.follow(v, html, func() ([]byte, error) { return p.fresh.get(id, fragment) })
	return nil
}

// follow writes what next returns, whenever it is another than the last, until the browser or
// the server ends, or next fails: then the browser asks again, and gets the reason as a page.
func (p *Page) follow(v *visit, last []byte, next func() ([]byte, error)) {
	rc := http.NewResponseController(v.w)
	_ = rc.SetReadDeadline(time.Time{}) // the request has come; net/http would end it when its time is over
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	text, written := sentEvent(last), time.Now()
	for {
		if text != nil {
			_ = rc.SetWriteDeadline(time.Now().Add(liveWrite))
			if _, err := v.w.Write(text); err != nil || rc.Flush() != nil {
				return
			}
			written = time.Now()
		}
		select {
		case <-tick.C:
		case <-v.r.Context().Done():
			return
		case <-p.o.Stopping:
			return
		}
		html, err := next()
		switch {
		case err != nil:
			return
		case !bytes.Equal(html, last):
			last, text = html, sentEvent(html)
		case time.Since(written) > liveIdle:
			text = []byte(": still here\n\n")
		default:
			text = nil
		}
	}
}

// sentEvent is one server-sent event (HTML, section 9.2.6): its data's lines stand alone.
func sentEvent(html []byte) []byte {
	var b bytes.Buffer
	b.WriteString("retry: 2000\nevent: update\n")
	for line := range bytes.Lines(html) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// fragment renders the part of a view that moves.
func (p *Page) fragment(view string, data func() (any, error)) ([]byte, error) {
	d, err := data()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := p.views[view].ExecuteTemplate(&b, "live", d); err != nil {
		return nil, fmt.Errorf("render %s: %w", view, err)
	}
	return b.Bytes(), nil
}
