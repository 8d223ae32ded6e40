package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Health asks the server on this machine whether it takes events.
type Health struct {
	Admin string `help:"Admin address of the server, as given to serve." default:"127.0.0.1:9091" env:"INTURN_ADMIN"`
}

const healthTimeout = 5 * time.Second

// Run returns nil if the server is ready, else what it answered or why it could
// not be asked. It takes at most 5 s.
func (h Health) Run(ctx context.Context) error {
	address, err := reachable(h.Admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, healthTimeout,
		fmt.Errorf("no answer within %v", healthTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	// No proxy: the server is on this machine.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return &Hint{
			Err:  fmt.Errorf("health: %s: %w", address, err),
			Hint: "is the server running, and is this its --admin address?",
		}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what came of it is good enough for a message
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answered %s: %s", address, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// reachable turns an address to listen on into one to connect to.
func reachable(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" || port == "0" {
		return "", &Hint{
			Err:  fmt.Errorf("health: admin address %q: names no port to ask", listen),
			Hint: "give serve's admin address with --admin or INTURN_ADMIN, such as 127.0.0.1:9091",
		}
	}
	ip := net.ParseIP(host)
	switch {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
