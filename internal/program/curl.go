package program

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Answer is what curl got.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Curl runs the real curl. It fails the test where there was no answer at all.
func Curl(t *testing.T, args ...string) Answer {
	t.Helper()
	NeedTool(t, "curl")
	dir := t.TempDir()
	header, body := filepath.Join(dir, "header"), filepath.Join(dir, "body")
	args = append([]string{"--silent", "--show-error", "--max-time", "60", "--path-as-is", "-D", header, "-o", body}, args...)
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	cmd.Env = Env()
	if r := RunCommand(t, cmd); r.Status != 0 {
		t.Fatalf("curl: status %d: %s", r.Status, r.ErrOut)
	}
	a := Answer{}
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) { // no body, no file
			t.Fatal(err)
		}
		return string(b)
	}
	a.Body = read(body)
	// The last header is the answer's; before it there may be a 100 Continue.
	blocks := strings.Split(strings.TrimSuffix(read(header), "\r\n\r\n"), "\r\n\r\n")
	statusLine, fields, _ := strings.Cut(blocks[len(blocks)-1], "\r\n")
	if _, err := fmt.Sscanf(statusLine, "HTTP/%s %d", new(string), &a.Status); err != nil {
		t.Fatalf("status line %q: %v", statusLine, err)
	}
	parsed, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("header %q: %v", fields, err)
	}
	a.Header = http.Header(parsed)
	return a
}

// Problem is an answer that is RFC 9457's application/problem+json.
type Problem struct {
	Type      string
	Status    int
	Detail    string
	RequestID string `json:"request_id"`
	Seq       int64
	Errors    []struct{ Pointer, Parameter, Detail string }
}

// Problem reads the answer's problem, which must agree with its header.
func (a Answer) Problem(t *testing.T) Problem {
	t.Helper()
	var p Problem
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q of a problem: %s", got, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil {
		t.Fatalf("problem %q: %v", a.Body, err)
	}
	if p.Status != a.Status || p.RequestID != a.Header.Get("X-Request-ID") || p.RequestID == "" || p.Detail == "" {
		t.Errorf("problem %s does not agree with its header: %d %v", a.Body, a.Status, a.Header)
	}
	return p
}
