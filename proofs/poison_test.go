package proofs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// binaryWith builds the program of a folder of testdata: inturn with further functions.
func binaryWith(t *testing.T, folder string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "inturn")
	build := exec.Command("go", "build", "-o", binary, "./testdata/"+folder)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// poisonAttempts is the policy's, in testdata/poison.
const poisonAttempts = 3

// An event whose function ends the process stops its account after its attempts,
// and not the service: everything else is done, each once and in order.
func TestPoison(t *testing.T) {
	t.Parallel()
	binary := binaryWith(t, "poison")
	for how, end := range map[string]string{ // what the exit status or the log says then
		"exit": "exit status 3", "exit in the effect": "exit status 3", "killed": "signal: killed",
		"stack overflow": "fatal error: stack overflow", "out of memory": "fatal error: out of memory",
		"panic in a goroutine": "panic: nobody recovers this",
	} {
		for _, typ := range []string{"poison", "poison-ahead"} {
			if typ == "poison-ahead" && how != "exit" {
				continue // what ends the process makes no difference to it
			}
			t.Run(how+" "+typ, func(t *testing.T) {
				t.Parallel()
				poisoned(t, binary, typ, how, end)
			})
		}
	}
}

func poisoned(t *testing.T, binary, typ, how, end string) {
	const accounts, each = 20, 5
	dir := t.TempDir()
	var events []event
	for i := range each {
		for a := range accounts {
			events = append(events, event{client: fmt.Sprint("c", a), id: fmt.Sprint(i), typ: "steady", payload: "{}"})
		}
	}
	// The poison has harmless events before and behind it.
	for i := range 2*each + 1 {
		ev := event{client: "poison", id: fmt.Sprint(i), typ: typ, payload: "{}"}
		switch i {
		case 0:
			ev.typ, ev.payload = "steady", `{"how":"wait"}`
		case each:
			ev.payload = fmt.Sprintf(`{"how":%q}`, how)
		}
		events = append(events, ev)
	}
	ends := 0
	for over := false; !over; {
		p := startBinary(t, binary, dir)
		url, c := p.ready(), dial(t, dir)
		for i := range events {
			if events[i].seq != 0 {
				continue
			}
			a, err := c.post(context.Background(), url, events[i])
			if err != nil {
				break // the process has ended; it is sent again
			}
			if !a.taken() {
				t.Fatalf("event %s %s was answered %+v", events[i].client, events[i].id, a)
			}
			events[i].seq = a.Seq
		}
		if over = settled(t, p, dir); over {
			p.signal(syscall.SIGTERM)
			if status := p.ends(); status != 0 {
				t.Errorf("exit status %d at the end:\n%s", status, p.log())
			}
			break
		}
		if !p.endedBy(end) {
			t.Errorf("the process ended by %v, want %q:\n%s", p.cmd.ProcessState, end, p.log())
		}
		if ends++; ends > 3*poisonAttempts {
			t.Fatalf("the process was ended %d times by an event with %d attempts:\n%s", ends, poisonAttempts, p.log())
		}
	}
	t.Logf("the process was ended %d times", ends)
	// One end may come before attempts are recorded, and one more before the event is
	// the head of its account.
	if ends < poisonAttempts || ends > poisonAttempts+2 {
		t.Errorf("the process was ended %d times, want %d to %d", ends, poisonAttempts, poisonAttempts+2)
	}

	violations, err := file.Verify(t.Context(), dbFile(dir), nil)
	if err != nil || len(violations) > 0 {
		t.Errorf("check: %v %v", err, violations)
	}
	file, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var attempts int
	var head string
	err = file.QueryRow(`SELECT a.attempts, o.message_id FROM accounts a JOIN outbox o ON o.seq = a.head_seq
		WHERE a.client_id = 'poison' AND parked = 1`).Scan(&attempts, &head)
	if err != nil || attempts != poisonAttempts || head != fmt.Sprint(each) {
		t.Errorf("the account is held at event %s after %d attempts (%v), want parked at %d after %d", head, attempts, err, each, poisonAttempts)
	}
	n := map[string]int{} // effects of each client
	rows, err := file.Query(`SELECT client_id, message_id FROM steady ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var client string
		var id int
		if err := rows.Scan(&client, &id); err != nil {
			t.Fatal(err)
		}
		if id != n[client] {
			t.Errorf("effect number %d of %s is that of event %d", n[client], client, id)
		}
		n[client]++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for a := range accounts {
		if c := fmt.Sprint("c", a); n[c] != each {
			t.Errorf("account %s has %d effects, want %d", c, n[c], each)
		}
	}
	if n["poison"] != each {
		t.Errorf("the poison's account has %d effects, want the %d before it", n["poison"], each)
	}
}

// settled waits until the poison's account is parked and all others are done, and
// reports false if the process ends before.
func settled(t *testing.T, p *process, dir string) bool {
	t.Helper()
	file, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.SetMaxIdleConns(0) // no lock stays behind between the looks
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for {
		var parked, pending int
		err := file.QueryRow(`SELECT (SELECT count(*) FROM accounts WHERE parked = 1),
			(SELECT count(*) FROM pending WHERE client_id <> 'poison')`).Scan(&parked, &pending)
		if err == nil && parked == 1 && pending == 0 {
			return true
		}
		select {
		case <-p.gone:
			return false
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%d accounts are parked and %d events of the others pending (%v):\n%s", parked, pending, err, p.log())
		}
	}
}

// endedBy reports whether the exit status or a line of the log says so.
func (p *process) endedBy(what string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.String() == what ||
		slices.ContainsFunc(p.lines, func(l logLine) bool { return strings.HasPrefix(l.text, what) })
}

// startBinary is start for another binary.
func startBinary(t *testing.T, binary, dir string, flags ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, gone: make(chan struct{}), more: make(chan struct{}),
		cmd: exec.Command(binary, append([]string{"serve", "--db", dbFile(dir), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)...)}
	p.cmd.Env, p.cmd.SysProcAttr = environment(), endsWithParent()
	log, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.watch(log)
	t.Cleanup(func() {
		p.kill()
		<-p.gone
	})
	return p
}
