package cli

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errServerEnded = errors.New("the server ended by itself")

// How long a server may take to become ready, and to drain.
const (
	demoStartTime = time.Minute
	demoStopTime  = time.Minute
)

// demoServer is a server that runs in this process.
type demoServer struct {
	address chan [2]string
	end     context.CancelFunc // asks it to end
	ended   context.Context    // is done when it has ended
	err     error              // why; to be read after that
}

func startServer(ctx context.Context, dir string, start Start) *demoServer {
	// Not a child of ctx: on an interrupt the sender stops first, then the server.
	serve, end := context.WithCancel(context.WithoutCancel(ctx))
	ended, setEnded := context.WithCancel(context.Background())
	s := &demoServer{address: make(chan [2]string, 1), end: end, ended: ended}
	go func() {
		defer setEnded()
		s.err = start(serve, dir, func(addr, caFile string) { s.address <- [2]string{addr, caFile} })
	}()
	return s
}

// ready waits until the server takes events.
func (s *demoServer) ready(ctx context.Context) (addr, caFile string, err error) {
	late := time.NewTimer(demoStartTime)
	defer late.Stop()
	select {
	case a := <-s.address:
		return a[0], a[1], nil
	case <-s.ended.Done():
		return "", "", errServerEnded
	case <-ctx.Done():
		return "", "", ctx.Err()
	case <-late.C:
		return "", "", fmt.Errorf("the server is not ready after %v", demoStartTime)
	}
}

// stop ends the server and returns its error.
func (s *demoServer) stop() error {
	s.end()
	late := time.NewTimer(demoStopTime)
	defer late.Stop()
	select {
	case <-s.ended.Done():
	case <-late.C:
		return fmt.Errorf("the server has not ended after %v", demoStopTime)
	}
	if s.err != nil {
		return fmt.Errorf("server: %w", s.err)
	}
	return nil
}
