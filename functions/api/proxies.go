package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// Proxies are the addresses of proxies whose word about the client counts.
type Proxies []netip.Prefix

// ParseProxies reads ranges (10.0.0.0/8, 2001:db8::/32) and single addresses.
func ParseProxies(texts []string) (Proxies, error) {
	var all Proxies
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); err != nil && aerr == nil {
			prefix, err = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), nil
		}
		if err != nil || prefix.Addr().Is4In6() || prefix != prefix.Masked() {
			return nil, fmt.Errorf("%.100q is not a range of addresses such as 10.0.0.0/8, with no bits set after its prefix", text)
		}
		all = append(all, prefix)
	}
	return all, nil
}

func (p Proxies) trust(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// client returns the address of the client that sent r, and its scheme ("" if unknown).
// Headers count only from a trusted proxy: of X-Forwarded-For the last address that is not a trusted proxy's
// counts, because whatever stands before it the client may have written.
func (p Proxies) client(r *http.Request) (addr, scheme string) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if len(p) == 0 || err != nil || !p.trust(peer.Addr()) {
		return r.RemoteAddr, ""
	}
	if protos := r.Header["X-Forwarded-Proto"]; len(protos) == 1 {
		for _, known := range []string{"http", "https"} {
			if strings.EqualFold(protos[0], known) {
				scheme = known
			}
		}
	}
	addr = r.RemoteAddr
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			break
		}
		addr = hop.String()
		if !p.trust(hop) {
			break
		}
	}
	return addr, scheme
}

// parseHop reads an address, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	if len(text) > 64 {
		return netip.Addr{}, false
	}
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

// proxyHeaderTimeout is how long a proxy's header may take. A proxy sends it at once.
const proxyHeaderTimeout = 5 * time.Second

// ProxyListener reads the PROXY protocol's header (version 1 or 2) of connections
// from trusted addresses, which must send one, and makes the client it names the
// connection's remote address. Of others nothing is read: what they send is data,
// also if it looks like a header. Accept never waits for a header.
func ProxyListener(l net.Listener, trusted Proxies, log *slog.Logger) net.Listener {
	return proxyListener(l, trusted, log, proxyHeaderTimeout)
}

func proxyListener(l net.Listener, trusted Proxies, log *slog.Logger, timeout time.Duration) net.Listener {
	return &proxied{log: log, Listener: &proxyproto.Listener{
		Listener:          countingListener{l},
		ReadHeaderTimeout: timeout,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			if peer, err := netip.ParseAddrPort(o.Upstream.String()); err == nil && trusted.trust(peer.Addr()) {
				return proxyproto.REQUIRE, nil
			}
			return proxyproto.SKIP, nil
		},
		ValidateHeader: func(h *proxyproto.Header) error {
			if _, tcp := h.SourceAddr.(*net.TCPAddr); tcp || h.SourceAddr == nil || h.Command.IsLocal() {
				return nil
			}
			return errors.New("the header's client is not an address of TCP")
		},
	}}
}

type proxied struct {
	*proxyproto.Listener
	log  *slog.Logger
	last atomic.Int64 // Unix seconds of the last complaint
}

func (l *proxied) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if p, ok := conn.(*proxyproto.Conn); ok && err == nil {
		return &proxiedConn{Conn: p, listener: l}, nil
	}
	return conn, err
}

// complain says, at most once a minute, why trusted proxies are cut off: without it
// a proxy that sends no header can't be found out.
func (l *proxied) complain(proxy net.Addr, err error) {
	now, last := time.Now().Unix(), l.last.Load()
	if now-last >= 60 && l.last.CompareAndSwap(last, now) {
		l.log.Warn("a trusted proxy's connection was cut off: it must begin with a PROXY protocol header", "proxy", proxy.String(), "err", err)
	}
}

type proxiedConn struct {
	*proxyproto.Conn
	listener *proxied
	first    sync.Once
}

func (c *proxiedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.first.Do(func() {
		raw := c.Raw().(*countingConn)
		if err != nil && c.ProxyHeader() == nil && raw.some { // a check of the port sends nothing
			c.listener.complain(raw.RemoteAddr(), err)
		}
	})
	return n, err
}

// countingListener's connections know whether anything came.
type countingListener struct{ net.Listener }

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn}, nil
}

type countingConn struct {
	net.Conn
	some bool // only the reader has it
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.some = c.some || n > 0
	return n, err
}
