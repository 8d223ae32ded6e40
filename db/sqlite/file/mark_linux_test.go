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

// A second process that has the file under another name (a bind mount) waits.
func TestMarkedByAnotherProcess(t *testing.T) {
	const variable = "INTURN_TEST_MARK"
	if path := os.Getenv(variable); path != "" { // the other process
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mark(f); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("marked\n")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMarkedByAnotherProcess$")
	other.Env = append(os.Environ(), variable+"="+path)
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
	log := slog.New(slog.DiscardHandler)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenPlace(ended, path, false, log); err == nil || !strings.Contains(err.Error(), "under another name") {
		t.Errorf("while it is marked: %v", err)
	}
	if _, err := OpenPlace(ended, path, true, log); err != nil {
		t.Errorf("by force: %v", err)
	}
	end.Close()
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPlace(ended, path, false, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
