package api

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// tokensEvery is how often the token file is looked at: so long a token that was
// revoked may still be good. SIGHUP makes it at once.
const tokensEvery = 2 * time.Second

// Watch reloads the tokens when their file changes and at each signal from now,
// until ctx ends. A file that is not valid changes nothing, and the log says so: the
// tokens of before stay valid.
func (t *Tokens) Watch(ctx context.Context, now <-chan os.Signal, log *slog.Logger) {
	if t == nil || t.path == "" {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(tokensEvery)
	defer tick.Stop()
	t.watch(ctx, now, tick.C, log)
}

func (t *Tokens) watch(ctx context.Context, now <-chan os.Signal, tick <-chan time.Time, log *slog.Logger) {
	// What changed between the first reading and here is read again.
	unread := fileStamp{size: -1}
	for last, first := unread, true; ; first = false {
		if stamp := stampOf(t.path); stamp != last {
			t.reload(log, !first)
			last = stamp
		}
		select {
		case <-tick:
		case <-now:
			last = unread
		case <-ctx.Done():
			return
		}
	}
}

func (t *Tokens) reload(log *slog.Logger, say bool) {
	if err := t.Reload(); err != nil {
		log.Error("the token file is not good: the tokens stay as they were", "error", err)
		return
	}
	if say {
		log.Info("tokens reloaded", "tokens", len(t.set.Load().list))
	}
}

// fileStamp changes with a file. An atomic replacement has another inode, so that it
// is seen also within a tick of the file system's clock.
type fileStamp struct {
	modified time.Time
	size     int64
	info     any // inode and device, on systems that have such
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size(), inode(info)}
}
