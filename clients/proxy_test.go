package clients

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between clients and a server, whose address may change, and is what
// happens to connections on the way. What it carries is TLS, which it can't read.
type proxy struct {
	net.Listener
	handling sync.WaitGroup
	open     func() // opens the gate

	mu       sync.Mutex
	target   string // "": connections are closed at once
	throttle int    // bytes a second of each connection, from the client; 0: no bound
	delay    time.Duration
	cutAfter int           // bytes from the server after which a connection breaks, later for each; 0: never
	gate     chan struct{} // until it is closed, no connection carries more than gateAfter from the client
	conns    map[*link]bool
	links    int
}

// gateAfter is what a connection carries from the client while the gate is closed, in
// bytes: some events, and no call's all.
const gateAfter = 40_000

// link is one connection.
type link struct{ client, server *net.TCPConn }

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: target, conns: map[*link]bool{}, gate: make(chan struct{})}
	p.open = sync.OnceFunc(func() { close(p.gate) })
	p.handling.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.handling.Go(func() { p.handle(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); p.open(); p.cut(); p.handling.Wait() })
	return p
}

// set changes what happens to connections from now on.
func (p *proxy) set(change func(p *proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.conns {
		l.client.Close()
		l.server.Close()
	}
}

// halfClose ends the server's half of every connection.
func (p *proxy) halfClose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.conns {
		_ = l.client.CloseWrite()
		_ = l.server.CloseRead()
	}
}

func (p *proxy) handle(client *net.TCPConn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	conn, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	l := &link{client, server}
	p.mu.Lock()
	p.conns[l] = true
	p.links++
	limit := p.cutAfter + 4000*p.links
	if p.cutAfter == 0 {
		limit = 0
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, l)
		p.mu.Unlock()
	}()
	var up sync.WaitGroup
	up.Go(func() {
		p.carry(server, client, true, 0)
		_ = server.CloseWrite()
	})
	p.carry(client, server, false, limit)
	_ = client.CloseWrite()
	up.Wait()
}

// carry copies until the source ends, the destination fails, or limit is reached.
func (p *proxy) carry(to, from *net.TCPConn, slowly bool, limit int) {
	buf := make([]byte, 8<<10)
	for total := 0; ; {
		n, err := from.Read(buf)
		if limit > 0 && total+n > limit {
			_, _ = to.Write(buf[:limit-total])
			to.Close()
			from.Close()
			return
		}
		total += n
		if slowly && total > gateAfter {
			<-p.gate
		}
		p.mu.Lock()
		throttle, delay := p.throttle, p.delay
		p.mu.Unlock()
		if slowly && throttle > 0 {
			delay += time.Duration(n) * time.Second / time.Duration(throttle)
		}
		time.Sleep(delay)
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			if err != nil && err != io.EOF {
				to.Close()
			}
			return
		}
	}
}
