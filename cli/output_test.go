package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOutputNeverADatabase: no name of a database, and none that belongs to one, is
// written, with or without force.
func TestOutputNeverADatabase(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	handle := newFile(t, in("inturn.db"))
	mustExec(t, handle, "INSERT INTO outbox VALUES (1, 'a', '1', 'work', '{}', 0, '', NULL)")
	for from, to := range map[string]string{"inturn.db": "hard", "inturn.db-wal": "hard-wal", "inturn.db-shm": "hard-shm"} {
		if err := os.Link(in(from), in(to)); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"inturn.db": "soft", "inturn.db-wal": "soft-wal"} {
		if err := os.Symlink(from, in(to)); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, in("damaged.db"), "no header")
	mustWrite(t, in("damaged.db.lock"), "")
	mustWrite(t, in("journal"), "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and more")

	names := []string{"inturn.db", "inturn.db-wal", "inturn.db-shm", "inturn.db-journal", "inturn.db.lock", "inturn.db.inturn.part", "inturn.db.restoring",
		"hard", "hard-wal", "hard-shm", "soft", "soft-wal", "damaged.db", "damaged.db-wal", "damaged.db.lock", "journal"}
	for _, name := range names {
		before, err := os.ReadFile(in(name))
		for _, force := range []bool{false, true} {
			g := Generate{File: in(name), Events: 1, Clients: 1, Type: "work", Distribution: "even", Force: force}
			out, _, _ := newIO()
			if err := g.Run(t.Context(), out); err == nil {
				t.Errorf("%s, force %v: it is written", name, force)
			}
		}
		after, aerr := os.ReadFile(in(name))
		if !bytes.Equal(before, after) || (err == nil) != (aerr == nil) {
			t.Errorf("%s has changed", name)
		}
	}
}

func TestOutputForce(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "events.csv"), filepath.Join(dir, "link")
	mustWrite(t, path, "mine")
	if err := os.Symlink("events.csv", link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, link} {
		mustWrite(t, path, "mine")
		g := Generate{File: file, Events: 1, Clients: 1, Type: "work", Distribution: "even"}
		out, _, _ := newIO()
		err := g.Run(t.Context(), out)
		if h, ok := errors.AsType[*Hint](err); !ok || !strings.Contains(h.Hint, "--force") {
			t.Errorf("%s: told %v", file, err)
		}
		if got := readFile(t, path); got != "mine" {
			t.Errorf("%s: without force the file is %q", file, got)
		}
		g.Force = true
		if err := g.Run(t.Context(), out); err != nil {
			t.Error(err)
		}
		if got := readFile(t, path); !strings.HasPrefix(got, "client_id,") {
			t.Errorf("%s: with force the file is %q", file, got)
		}
	}
	if _, err := os.Readlink(link); err != nil {
		t.Errorf("the link: %v", err)
	}
}

// TestOutputStreams: a pipe and a device are written without force, a folder is not.
func TestOutputStreams(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		b, _ := os.ReadFile(pipe)
		got <- string(b)
	}()
	g := Generate{Events: 1, Clients: 1, Type: "work", Distribution: "even"}
	for _, g.File = range []string{pipe, "/dev/null", "/dev/stdout"} {
		out, written, _ := newIO()
		if err := g.Run(t.Context(), out); err != nil {
			t.Errorf("%s: %v", g.File, err)
		}
		if (written.Len() > 0) != (g.File == "/dev/stdout") {
			t.Errorf("%s: %d bytes on standard output", g.File, written.Len())
		}
	}
	if text := <-got; !strings.HasPrefix(text, "client_id,") {
		t.Errorf("the pipe gave %q", text)
	}
	g.File = dir
	if err := g.Run(t.Context(), IO{Out: io.Discard, Err: io.Discard}); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
}

// TestOutputAppendedToADatabase: also where the shell has opened it.
func TestOutputAppendedToADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inturn.db")
	newFile(t, path).Close()
	before := readFile(t, path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := Generate{File: "-", Events: 1, Clients: 1, Type: "work", Distribution: "even"}
	if err := g.Run(t.Context(), IO{Out: f, Err: io.Discard}); err == nil {
		t.Error("it is written")
	}
	if readFile(t, path) != before {
		t.Error("the database has changed")
	}
}
