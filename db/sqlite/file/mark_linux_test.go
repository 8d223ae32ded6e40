package file

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMarkedByAnotherProcess: a process that has the file under another name (a bind
// mount) is waited for; one that has it under the same name has lost the lock.
func TestMarkedByAnotherProcess(t *testing.T) {
	const variable = "INTURN_TEST_MARK"
	if paths := os.Getenv(variable); paths != "" { // the other process
		for path := range strings.SplitSeq(paths, "|") {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := mark(f); err != nil {
				t.Fatal(err)
			}
		}
		os.Stdout.WriteString("marked\n")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	path := filepath.Join(t.TempDir(), "a.db")
	for _, name := range []string{path, path + "-shm"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	openPlace := func() error {
		p, err := OpenPlace(ended, path, slog.New(slog.DiscardHandler))
		if err == nil {
			err = p.Close()
		}
		return err
	}
	for _, c := range []struct {
		marked string
		waits  bool
	}{{path, true}, {path + "|" + path + "-shm", false}} {
		other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMarkedByAnotherProcess$")
		other.Env = append(os.Environ(), variable+"="+c.marked)
		end, err := other.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := other.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "marked") {
			t.Fatalf("%q, %v", line, err)
		}
		if err := openPlace(); (err != nil && strings.Contains(err.Error(), "under another name")) != c.waits {
			t.Errorf("%s is marked: %v", c.marked, err)
		}
		end.Close()
		if err := other.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := openPlace(); err != nil {
			t.Errorf("nothing is marked any more: %v", err)
		}
	}
}
