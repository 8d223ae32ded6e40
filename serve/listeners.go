package serve

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"inturn/functions/api"
)

// listeners are the listeners for clients, with whatever proxies stand before them.
type listeners struct {
	public, plain net.Listener // plain: for plain HTTP beside HTTPS, nil for none
	proxies       api.Proxies  // whose X-Forwarded-For counts
}

// listen opens the addresses for clients.
func (c *Config) listen(log *slog.Logger) (*listeners, error) {
	trusted, err := api.ParseProxies(c.TrustedProxy)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	l := &listeners{proxies: trusted}
	if l.public, err = api.Listen(c.Listen, c.MaxConnections); err != nil {
		return nil, explainListen("--listen", err)
	}
	if c.HTTPListen != "" {
		if l.plain, err = api.Listen(c.HTTPListen, 256); err != nil {
			l.public.Close()
			return nil, explainListen("--http-listen", fmt.Errorf("http: %w", err))
		}
	}
	if c.ProxyProtocol {
		l.proxies = nil // the connection's address is the client's already
		l.public = api.ProxyListener(l.public, trusted, log)
		if l.plain != nil {
			l.plain = api.ProxyListener(l.plain, trusted, log)
		}
	}
	return l, nil
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
// is not on 80 itself, ports are forwarded, and 443 is among them.
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
