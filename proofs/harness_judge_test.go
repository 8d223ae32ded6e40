package proofs

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// snapshot copies the file as a crash has left it, with its WAL and without its
// shared memory, which does not outlive the processes that had it.
func snapshot(t testing.TB, dir string) (path string) {
	t.Helper()
	to, err := os.MkdirTemp(t.TempDir(), "snapshot-")
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(dbFile(to)+suffix, dbFile(dir)+suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return dbFile(to)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// stored is an event as the file has it.
type stored struct {
	seq               int64
	pending           bool
	status            string // "" for none
	settled           int64
	started, finished int64
	attempts          int64
	held              bool // its account waits after a failure
}

// contents is the part of a file that the judge needs.
type contents struct {
	events   map[string]stored // by client and id
	messages map[string][]writtenMessage
	epoch    int64
}

type writtenMessage struct {
	id   int64
	text string
}

func key(client, id string) string { return client + "\x00" + id }

// read reads a file that no process has.
func read(t testing.TB, path string) contents {
	t.Helper()
	ctx := context.Background()
	file, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := contents{events: map[string]stored{}, messages: map[string][]writtenMessage{}}
	if err := file.QueryRowContext(ctx, "SELECT epoch FROM owner").Scan(&c.epoch); err != nil {
		t.Fatal(err)
	}
	each(t, file, `
		SELECT o.client_id, o.message_id, o.seq, p.seq IS NOT NULL, coalesce(r.status, ''), coalesce(r.settled, 0),
		       coalesce(r.started_at, 0), coalesce(r.finished_at, 0), coalesce(r.attempts, 0), a.attempts > 0
		FROM outbox o JOIN accounts a USING (client_id)
		  LEFT JOIN pending p ON p.client_id = o.client_id AND p.turn = o.seq
		  LEFT JOIN results r ON r.seq = o.seq`,
		func(scan func(...any) error) error {
			var client, id string
			var s stored
			err := scan(&client, &id, &s.seq, &s.pending, &s.status, &s.settled, &s.started, &s.finished, &s.attempts, &s.held)
			c.events[key(client, id)] = s
			return err
		})
	each(t, file, `
		SELECT c.external_client_id, m.message_id, m.id, m.text FROM messages m JOIN clients c ON c.id = m.client`,
		func(scan func(...any) error) error {
			var client, id string
			var m writtenMessage
			err := scan(&client, &id, &m.id, &m.text)
			c.messages[key(client, id)] = append(c.messages[key(client, id)], m)
			return err
		})
	return c
}

func each(t testing.TB, file interface {
	Query(query string, args ...any) (*sql.Rows, error)
}, query string, row func(scan func(...any) error) error) {
	t.Helper()
	rows, err := file.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// judge compares a file with what the senders know while none of them sends, and
// asks `inturn check`. Where drained is set everything must be done, too.
func (f *fleet) judge(t testing.TB, path string, drained bool) contents {
	t.Helper()
	limit := patience
	for _, s := range f.senders {
		limit += time.Duration(len(s.sent)) * time.Millisecond // a soak leaves millions
	}
	if out, err := inturnWithin(t, limit, "check", "--db", path); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
	c := read(t, path)
	j := judge{c: c, drained: drained, left: len(c.events)}
	for _, s := range f.senders {
		for i, first := 0, 0; i < len(s.sent); i++ {
			if last := i+1 == len(s.sent) || s.sent[i+1].client != s.sent[i].client; last {
				j.account(s.sent[first : i+1])
				first = i + 1
			}
		}
	}
	if j.left != 0 {
		j.wrong("%d events are in the file that nobody has sent", j.left)
	}
	for i, w := range j.found {
		if i == 20 {
			t.Errorf("and %d more", len(j.found)-i)
			break
		}
		t.Error(w)
	}
	return c
}

type judge struct {
	c       contents
	drained bool
	left    int // events of the file that were not looked at yet
	found   []string
}

func (j *judge) wrong(format string, args ...any) {
	j.found = append(j.found, fmt.Sprintf(format, args...))
}

// account judges the events of one account, in the order of its sender's counter.
func (j *judge) account(sent []event) {
	var before stored
	var message int64 // greatest id so far
	for i, ev := range sent {
		name := ev.client + " " + ev.id
		s, there := j.c.events[key(ev.client, ev.id)]
		written := j.c.messages[key(ev.client, ev.id)]
		if !there {
			if ev.seq != 0 {
				j.wrong("%s was answered with seq %d and is lost", name, ev.seq)
			}
			if len(written) > 0 {
				j.wrong("%s is not accepted and has an effect", name)
			}
			continue
		}
		j.left--
		switch {
		case ev.seq != 0 && s.seq != ev.seq:
			j.wrong("%s was answered with seq %d and has %d", name, ev.seq, s.seq)
		case s.pending == (s.status != ""):
			j.wrong("%s is pending: %t, and its result is %q", name, s.pending, s.status)
		case j.drained && s.status != "done":
			j.wrong("%s was accepted and is not done", name)
		}
		if i > 0 {
			switch {
			case s.seq <= before.seq:
				j.wrong("%s has seq %d, and the event before it %d", name, s.seq, before.seq)
			case s.status != "" && before.status == "":
				j.wrong("%s is settled before its predecessor", name)
			case s.status != "" && s.settled <= before.settled:
				j.wrong("%s was settled as number %d, and its predecessor as %d", name, s.settled, before.settled)
			case s.status != "" && ev.typ == "work" && s.started < before.finished:
				j.wrong("%s was started %d µs before its predecessor was finished", name, before.finished-s.started)
			}
		}
		before = s
		if ev.typ != "message" {
			continue
		}
		switch {
		case len(written) > 1:
			j.wrong("%s has %d effects", name, len(written))
		case (len(written) == 1) != (s.status == "done"):
			j.wrong("%s has %d effects, and its result is %q", name, len(written), s.status)
		case len(written) == 1:
			if m := written[0]; m.text != strconv.Itoa(ev.n) {
				j.wrong("%s has the effect of %q", name, m.text)
			} else if m.id <= message {
				j.wrong("%s has its effect before its predecessor's", name)
			} else {
				message = m.id
			}
		}
	}
}

// drained waits until nothing is pending any more in the file of a running server.
func drained(t testing.TB, dir string) {
	t.Helper()
	file, err := file.OpenReadOnly(t.Context(), filepath.Clean(dbFile(dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	eventually(t, "the backlog's end", func() bool {
		var n int
		if err := file.QueryRow("SELECT count(*) FROM pending").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}
