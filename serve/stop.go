package serve

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"inturn/logs"

	"github.com/oklog/run"
)

// WatchdogAfter is how long a stop may take beyond --drain before the process ends itself
// at once, which loses nothing. A platform that kills must wait for longer than both
// together.
const WatchdogAfter = 20 * time.Second

const (
	// lastLine is for the watchdog's own line: it waits for no reader of the log.
	lastLine     = 100 * time.Millisecond
	defaultDrain = 30 * time.Second
	streamsEnd   = 5 * time.Second // at least, for the answers to what streams have sent
	serverEnd    = 5 * time.Second // for the answers that are still owed once the functions have ended, and then for the connections
)

// addServer adds an HTTP server that, once told to stop, lets its requests end.
func addServer(g *run.Group, srv *http.Server, ln net.Listener, stopping <-chan struct{}, stop func()) {
	g.Add(func() error {
		failed := make(chan error, 1)
		go func() {
			if srv.TLSConfig != nil {
				failed <- srv.Serve(newHandshakeListener(ln, srv.TLSConfig, srv.ReadHeaderTimeout, srv.ErrorLog.Printf))
			} else {
				failed <- srv.Serve(ln)
			}
		}()
		select {
		case err := <-failed:
			return err
		case <-stopping:
		}
		ctx, cancel := context.WithTimeout(context.Background(), serverEnd)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		<-failed
		return nil
	}, func(error) { stop() })
}

// newWatchdog ends the process where an orderly end takes too long after Reset.
// Whatever it cuts short is as after a crash: nothing that was answered is lost.
func newWatchdog(log *logs.Log) *time.Timer {
	t := time.AfterFunc(time.Hour, func() {
		log.Error("the orderly end takes too long; ending at once")
		log.Flush(lastLine)
		os.Exit(70)
	})
	t.Stop()
	return t
}
