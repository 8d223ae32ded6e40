// Package senders shows which HTTP clients send an event again, when, and with what, as the
// real server and what stands between may answer. The clients are in modules of their own,
// so that the product does not have them.
package senders

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const page = "../../docs/senders.md"

// The page's table stands between these lines.
const (
	begin = "<!-- the table of proofs/senders -->\n"
	end   = "<!-- the table's end -->\n"
)

// A sender posts events "1" and "2" to the URL that follows its arguments, and prints the
// status of the second, or error.
type sender struct {
	name    string
	command []string
}

func senders(bin string) (all []sender) {
	add := func(name string, command ...string) { all = append(all, sender{name, command}) }
	add("Go 1.26, net/http", bin+"/gosend", "net/http")
	add("the same, advised", bin+"/gosend", "net/http advised")
	add("Go, go-retryablehttp 0.7.8", bin+"/gosend", "retryablehttp")
	add("Go, resty 2.17.2, 4 retries", bin+"/gosend", "resty")
	add("Go, CloudEvents SDK 2.16.2", bin+"/gosend", "cloudevents")
	add("the same, advised", bin+"/gosend", "cloudevents advised")
	add("Node.js 20, fetch", "node", "send.mjs", "fetch")
	add("Node.js, undici 7.30.2", "node", "send.mjs", "undici")
	add("the same, advised", "node", "send.mjs", "undici advised")
	add("Node.js, axios 1.21.1", "node", "send.mjs", "axios")
	add("Node.js, axios-retry 4.5.0", "node", "send.mjs", "axios-retry")
	add("the same, advised", "node", "send.mjs", "axios-retry advised")
	add("Node.js, got 14.6.5", "node", "send.mjs", "got")
	add("the same, advised", "node", "send.mjs", "got advised")
	add("Node.js, ky 1.9.1", "node", "send.mjs", "ky")
	add("the same, advised", "node", "send.mjs", "ky advised")
	add("Python, urllib3 1.26.12", "/usr/bin/python3", "testdata/send.py", "urllib3")
	add("the same, advised", "/usr/bin/python3", "testdata/send.py", "urllib3 advised")
	add("Python, requests 2.28.1", "/usr/bin/python3", "testdata/send.py", "requests")
	add("the same, advised", "/usr/bin/python3", "testdata/send.py", "requests advised")
	add("Java 17, java.net.http", "java", "testdata/Send.java")
	add("curl 7.88.1", "testdata/send.sh", "curl")
	add("the same, advised", "testdata/send.sh", "curl", "--retry", "8", "--retry-all-errors")
	add("wget 1.21.3", "testdata/send.sh", "wget")
	return all
}

// A trouble is what meets the second event when it first comes. forward passes it to the
// server. The wait is what the answer asks for, in Retry-After.
type trouble struct {
	name string
	wait time.Duration
	meet func(w http.ResponseWriter, r *http.Request, forward http.Handler)
}

func troubles() []trouble {
	return []trouble{
		{"429", time.Second, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			forward.ServeHTTP(w, r) // the server's own: --client-rate
		}},
		{"503", 2 * time.Second, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "2")
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"type":"urn:inturn:problem:overloaded","title":"The server has too much to do.","status":503}`)
		}},
		{"closed before the commit", 0, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { cut(w, false) }},
		{"reset after the commit", 0, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			forward.ServeHTTP(nowhere{}, r)
			cut(w, true)
		}},
	}
}

// cut ends the connection without an answer, in order or by a reset.
func cut(w http.ResponseWriter, reset bool) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	c.Close()
}

// nowhere takes an answer that nobody sees.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// TestSenders compares each row of the page's table with what its sender does here.
// INTURN_SENDERS_WRITE=1 writes the page's table anew.
func TestSenders(t *testing.T) {
	bin := t.TempDir()
	for dir, to := range map[string]string{"../..": "inturn", "gosend": "gosend"} {
		cmd := exec.Command("go", "build", "-o", bin+"/"+to, ".")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", dir, err, out)
		}
	}
	var table strings.Builder
	table.WriteString("| sender |")
	rule := "|---|"
	for _, tr := range troubles() {
		table.WriteString(" " + tr.name + " |")
		rule += "---|"
	}
	table.WriteString("\n" + rule + "\n")
	for _, s := range senders(bin) {
		t.Run(strings.Join(s.command[1:], " "), func(t *testing.T) {
			table.WriteString("| " + s.name + " |")
			for _, tr := range troubles() {
				table.WriteString(" " + meets(t, bin, s, tr) + " |")
			}
			table.WriteString("\n")
		})
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	if os.Getenv("INTURN_SENDERS_WRITE") != "" {
		if err := os.WriteFile(page, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != table.String() {
		t.Errorf("%s has\n%s\nand was seen\n%s", page, old, table.String())
	}
}

// TestLines holds the page's lines of code against the programs that were run.
func TestLines(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var programs strings.Builder
	for _, file := range []string{"gosend/main.go", "send.mjs", "testdata/send.py"} {
		program, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		programs.Write(program)
	}
	lines := 0
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			continue
		}
		for line := range strings.SplitSeq(block[strings.Index(block, "\n")+1:], "\n") {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			lines++
			if !strings.Contains(programs.String(), line) {
				t.Errorf("no program has the line\n%s", line)
			}
		}
	}
	if lines < 10 {
		t.Errorf("the page has %d lines of code", lines)
	}
}

// arrivals are the times at which the second event came, and whether it came whole.
type arrivals struct {
	mu    sync.Mutex
	at    []time.Time
	empty bool
}

// meets returns what a sender makes of a trouble.
func meets(t *testing.T, bin string, s sender, tr trouble) string {
	t.Helper()
	server, stop := serve(t, bin, tr.name == "429")
	defer stop()
	forward := httputil.NewSingleHostReverseProxy(server)
	var seen arrivals
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	between := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		second := r.Header.Get("Ce-Id") == "2" || bytes.Contains(body, []byte(`"message_id":"2"`)) || bytes.Contains(body, []byte(`"message_id": "2"`))
		first := false
		seen.mu.Lock()
		if second || len(seen.at) > 0 {
			first = len(seen.at) == 0
			seen.empty = seen.empty || len(body) == 0
			seen.at = append(seen.at, time.Now())
		}
		seen.mu.Unlock()
		if first {
			tr.meet(w, r, forward)
		} else {
			forward.ServeHTTP(w, r)
		}
	})}
	go between.Serve(l)
	defer between.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.command[0], append(append([]string{}, s.command[1:]...), "http://"+l.Addr().String()+"/v1/events")...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", s.command, err, errOut.Bytes())
	}
	return seen.judge(tr, strings.TrimSpace(string(out)))
}

// judge says what a sender did: whether it sent again, when, and what it made of it.
func (a *arrivals) judge(tr trouble, status string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.at) < 2 {
		if strings.HasPrefix(status, "2") {
			return "?"
		}
		return "gives up"
	}
	gap := a.at[1].Sub(a.at[0])
	text := "again, after a wait of its own"
	switch {
	case gap < 150*time.Millisecond:
		text = "again, at once"
	case tr.wait > 0 && gap >= tr.wait-100*time.Millisecond:
		text = "again, after Retry-After"
	}
	if a.empty {
		text += ", with an empty body"
	}
	if !strings.HasPrefix(status, "2") {
		text += ", then gives up"
	}
	return text
}

// serve starts the real server without TLS, as behind a proxy.
func serve(t *testing.T, bin string, slow bool) (*url.URL, func()) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"serve", "--db", dir + "/inturn.db", "--tls", "off", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
	if slow {
		args = append(args, "--client-rate", "1", "--client-burst", "1")
	}
	cmd := exec.Command(bin+"/inturn", args...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	}
	var seen strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var l struct{ Msg, Listen string }
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "ready" {
			go io.Copy(io.Discard, log)
			return &url.URL{Scheme: "http", Host: l.Listen}, stop
		}
		fmt.Fprintln(&seen, lines.Text())
	}
	t.Fatalf("the server was never ready:\n%s", seen.String())
	return nil, nil
}
