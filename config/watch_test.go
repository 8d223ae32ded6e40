package config

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// watched is a watcher whose looks the test makes.
type watched struct {
	*watcher
	t   *testing.T
	dir string
}

func watchFiles(t *testing.T, files map[string]string) *watched {
	w := &watched{t: t, dir: t.TempDir()}
	for name, text := range files {
		w.write(name, text)
	}
	c, err := Load(filepath.Join(w.dir, "inturn.yaml"), env)
	if err != nil {
		t.Fatal(err)
	}
	w.watcher = newWatcher(c, env)
	return w
}

func (w *watched) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// looks n times, and returns how often the file was loaded, and whether the last time was
// good.
func (w *watched) looks(n int) (loads int, good bool) {
	for range n {
		if w.changed() {
			_, err := w.load()
			loads, good = loads+1, err == nil
		}
	}
	return loads, good
}

func TestWatch(t *testing.T) {
	w := watchFiles(t, map[string]string{"inturn.yaml": someHook + "verify: github\n    secret_file: secret", "secret": "one"})
	if n, _ := w.looks(3); n != 0 {
		t.Errorf("%d reloads of nothing", n)
	}
	// A change of the file, and of a secret, once each; a file that is replaced, too.
	w.write("secret", "two")
	if n, good := w.looks(3); n != 1 || !good {
		t.Errorf("a secret: %d reloads, good: %t", n, good)
	}
	w.write("new", "# nothing\n"+someHook+"verify: github\n    secret_file: secret")
	if err := os.Rename(filepath.Join(w.dir, "new"), filepath.Join(w.dir, "inturn.yaml")); err != nil {
		t.Fatal(err)
	}
	if n, good := w.looks(3); n != 1 || !good {
		t.Errorf("the file: %d reloads, good: %t", n, good)
	}
	// What is wrong is said once, and mended it is good again.
	w.write("inturn.yaml", "hooks: 7")
	if n, good := w.looks(5); n != 1 || good {
		t.Errorf("a broken file: %d reloads, good: %t", n, good)
	}
	w.write("inturn.yaml", someHook+"verify: github\n    secret_file: secret")
	if n, good := w.looks(3); n != 1 || !good {
		t.Errorf("a mended file: %d reloads, good: %t", n, good)
	}
	// A secret that is missing, and that comes.
	if err := os.Remove(filepath.Join(w.dir, "secret")); err != nil {
		t.Fatal(err)
	}
	if n, good := w.looks(3); n != 1 || good {
		t.Errorf("without its secret: %d reloads, good: %t", n, good)
	}
	w.write("secret", "three")
	if n, good := w.looks(3); n != 1 || !good {
		t.Errorf("with its secret again: %d reloads, good: %t", n, good)
	}
}

// A signal asks also where nothing has changed, and a change is found by itself.
func TestWatchReloads(t *testing.T) {
	w := watchFiles(t, map[string]string{"inturn.yaml": ""})
	c, err := Load(filepath.Join(w.dir, "inturn.yaml"), env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	signals, reloads, ended := make(chan os.Signal), make(chan int), make(chan struct{})
	go func() {
		c.Watch(ctx, signals, env, func(c *Config, err error) {
			if err != nil {
				t.Error(err)
			}
			reloads <- len(c.Hooks)
		})
		close(ended)
	}()
	signals <- syscall.SIGHUP
	if n := <-reloads; n != 0 {
		t.Errorf("%d hooks", n)
	}
	w.write("inturn.yaml", someHook+"verify: github\n    secret_env: GITHUB_SECRET")
	if n := <-reloads; n != 1 {
		t.Errorf("%d hooks", n)
	}
	cancel()
	<-ended
}

// A file that is being written is left alone until it stays as it is.
func TestWatchWaitsForTheEnd(t *testing.T) {
	w := watchFiles(t, map[string]string{"inturn.yaml": ""})
	for _, text := range []string{"h", "hooks", "hooks:", "hooks: []"} {
		w.write("inturn.yaml", text)
		if w.changed() {
			t.Errorf("%q is loaded at once", text)
		}
	}
	if !w.changed() {
		t.Error("what stays is not loaded")
	}
}
