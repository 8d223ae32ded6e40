package config

import (
	"context"
	"maps"
	"os"
	"time"
)

// lookEvery is how often Watch looks. It reads the files, which are small, and compares
// what is in each: that finds a change on bind mounts, behind links and on file systems
// that notify nobody.
const lookEvery = time.Second

// Watch calls reload with what the file says when it, or a file of secrets, has changed,
// and at each signal from now, until ctx ends. A change counts once it is the same twice in
// a row: a file that is being written is left alone. reload gets either a Config or what
// is wrong, once for each change. c is what was read last.
func (c *Config) Watch(ctx context.Context, now <-chan os.Signal, env Environment, reload func(*Config, error)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for w := newWatcher(c, env); ; {
		var changed bool
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			changed = w.changed()
		case <-now:
			changed = true
		}
		if changed {
			reload(w.load())
		}
	}
}

// watcher remembers what was read, by file.
type watcher struct {
	path string
	env  Environment
	read map[string]string // what was loaded last, good or not
	seen map[string]string // at the last look
}

func newWatcher(c *Config, env Environment) *watcher {
	return &watcher{path: c.path, env: env, read: c.sources, seen: c.sources}
}

// changed looks once.
func (w *watcher) changed() bool {
	text := look(w.read)
	changed := !maps.Equal(text, w.read) && maps.Equal(text, w.seen)
	w.seen = text
	return changed
}

func (w *watcher) load() (*Config, error) {
	c, read, err := load(w.path, w.env)
	w.read, w.seen = read, read
	return c, err
}

// look reads the files again. One that can't be read is empty, as load has it.
func look(files map[string]string) map[string]string {
	r := &reader{sources: map[string]string{}}
	for path := range files {
		_, _ = r.read(path, MaxFile)
	}
	return r.sources
}
