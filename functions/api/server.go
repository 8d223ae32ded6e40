package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// DefaultMaxConns bounds the connections of an address.
const DefaultMaxConns = 10_000

// Time-outs of the server. A whole request must have arrived in requestTimeout, so
// that is the slowest an event of --max-event may come; Prefer: wait extends its own.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 30 * time.Second
	writeTimeout   = 30 * time.Second // from the end of the header
	idleTimeout    = 2 * time.Minute  // between requests
	maxHeader      = 16 << 10         // bytes; net/http adds 4 KiB of its own
)

// Server returns a server with every limit set. With a tlsConfig serve it by
// ServeTLS(listener, "", ""), which also turns HTTP/2 on; without one by Serve.
// Its fields may be changed before that.
func Server(h http.Handler, tlsConfig *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          errorLog(log),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          250,
			MaxReceiveBufferPerConnection: 1 << 20, // flow control: what one connection may send ahead
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               30 * time.Second, // finds peers that are gone
			WriteByteTimeout:              writeTimeout,
		},
	}
}

// Listen opens addr. Past maxConns (0: DefaultMaxConns) connections wait in the
// kernel's queue until one ends: the client sees a slow connect, which it knows how
// to time out, and no memory is spent on it here.
func Listen(addr string, maxConns int) (net.Listener, error) {
	if maxConns <= 0 {
		maxConns = DefaultMaxConns
	}
	l, err := net.Listen("tcp", addr)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // what it was to do, and where, we say ourselves
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return netutil.LimitListener(l, maxConns), nil
}
