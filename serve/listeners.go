package serve

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"inturn/functions/api"
)

// listeners are the listeners for clients, behind the proxies that are configured.
type listeners struct {
	public  net.Listener
	plain   *yieldListener // for plain HTTP beside HTTPS, nil for none
	proxies api.Proxies    // whose X-Forwarded-For counts
}

// listen opens the addresses for clients.
func (c *Config) listen(bounds connections, log *slog.Logger) (*listeners, error) {
	trusted, err := api.ParseProxies(c.TrustedProxy)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	l := &listeners{proxies: trusted}
	if l.public, err = api.Listen(c.Listen, bounds.clients); err != nil {
		return nil, explainListen("--listen", err)
	}
	if c.HTTPListen != "" {
		plain, err := listenBeside(c.HTTPListen, bounds.side)
		if err != nil {
			l.public.Close()
			return nil, explainListen("--http-listen", fmt.Errorf("http: %w", err))
		}
		l.plain = plain
	}
	if c.ProxyProtocol {
		l.proxies = nil // the connection's address is the client's already
		l.public = api.ProxyListener(l.public, trusted, log)
		if l.plain != nil {
			l.plain.Listener = api.ProxyListener(l.plain.Listener, trusted, log)
		}
	}
	return l, nil
}

// listenBeside opens an address beside the public one. Two more connections than it keeps
// can be open: the new one, and the one that gives way.
func listenBeside(addr string, connections int) (*yieldListener, error) {
	l, err := api.Listen(addr, connections+2)
	if err != nil {
		return nil, err
	}
	return newYieldListener(l, connections), nil
}

func (l *listeners) close() {
	l.public.Close()
	if l.plain != nil {
		l.plain.Close()
	}
}

// plainAddr is the address for plain HTTP, "" for none.
func (l *listeners) plainAddr() string {
	if l.plain == nil {
		return ""
	}
	return l.plain.Addr().String()
}

// publicPort is the port that clients use for HTTPS, 0 for its own. Where plain HTTP
// is not on 80 itself, ports are forwarded, and 443 is one.
func publicPort(l *listeners) int {
	ports := []int{0, 0}
	for i, addr := range []string{l.public.Addr().String(), l.plainAddr()} {
		if _, port, err := net.SplitHostPort(addr); err == nil {
			ports[i], _ = strconv.Atoi(port)
		}
	}
	if ports[1] != 80 || ports[0] == 443 {
		return 0
	}
	return ports[0]
}
