package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func asError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestCAIsReused(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	first := open(t, dir, c)
	before := contents(t, dir)
	c.add(20 * day)
	second := open(t, dir, c, "one.more.example")
	if after := contents(t, dir); after != before {
		t.Error("a restart changed the files")
	}
	if leaf(t, first).Equal(leaf(t, second)) {
		t.Error("the leaf was kept")
	}
	if err := verify(leaf(t, second), readCert(t, first.CAFile()), "one.more.example", c.Now()); err != nil {
		t.Error(err)
	}
}

func TestRenewalWhileServing(t *testing.T) {
	c := newClock()
	l := open(t, t.TempDir(), c)
	port := serve(t, l)
	served := func() string {
		config := client(t, l)
		config.Time = c.Now
		conn, err := stdtls.Dial("tcp", "127.0.0.1:"+port, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := served()
	c.add(60*day - time.Hour)
	if served() != first {
		t.Error("renewed with more than a third of its time left")
	}
	c.add(2 * time.Hour)
	second := served()
	if second == first {
		t.Error("not renewed with less than a third of its time left")
	}
	c.add(200 * day) // nobody connected while it ended
	third := served()
	if third == second {
		t.Error("not renewed after its end")
	}
	c.add(-200 * day) // the clock was wrong
	if served() == third {
		t.Error("not renewed when its time hasn't come")
	}
}

func TestCARenewal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		restart bool
	}{{"at start", true}, {"while serving", false}} {
		t.Run(tt.name, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			var logged bytes.Buffer
			log := slog.New(slog.NewTextHandler(&logged, nil))
			l, err := SelfSigned(dir, nil, c.Now, log)
			if err != nil {
				t.Fatal(err)
			}
			old := readCert(t, l.CAFile())
			c.add(caLife - caMargin - day)
			if leaf(t, l); !readCert(t, l.CAFile()).Equal(old) {
				t.Fatal("renewed with more than the margin left")
			}
			c.add(leafLife)
			if tt.restart {
				if l, err = SelfSigned(dir, nil, c.Now, log); err != nil {
					t.Fatal(err)
				}
			}
			cert, renewed := leaf(t, l), readCert(t, l.CAFile())
			if renewed.Equal(old) || renewed.NotAfter.Before(cert.NotAfter) {
				t.Error("the CA was not renewed")
			}
			if !strings.Contains(logged.String(), "local CA renewed") {
				t.Errorf("the log doesn't say it:\n%s", &logged)
			}
			for name, ca := range map[string]*x509.Certificate{"new": renewed, "old": old} {
				if err := verify(cert, ca, "localhost", c.Now()); err != nil {
					t.Errorf("a client with the %s ca.pem: %v", name, err)
				}
			}
			kept, err := readAuthority(filepath.Join(dir, keyName))
			if err != nil || !kept.cert.Equal(renewed) {
				t.Errorf("the key file wasn't renewed: %v", err)
			}
		})
	}
}

// A CA from a time when the clock was ahead is not valid yet.
func TestCAFromTheFuture(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	c.add(1000 * day)
	open(t, dir, c)
	c.add(-1000 * day)
	l := open(t, dir, c)
	if err := verify(leaf(t, l), readCert(t, l.CAFile()), "localhost", c.Now()); err != nil {
		t.Error(err)
	}
}

// A full or vanished disk must not stop handshakes.
func TestRenewalWithoutDisk(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "tls"), newClock()
	l := open(t, dir, c)
	old := readCert(t, l.CAFile())
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.add(caLife - 100*day)
	if err := verify(leaf(t, l), old, "localhost", c.Now()); err != nil {
		t.Error(err)
	}
}

func TestStartAtOnce(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "data", "tls"), newClock()
	startAtOnce := func() {
		t.Helper()
		const n = 16
		var all [n]*Local
		var errs [n]error
		var group sync.WaitGroup
		begin := make(chan struct{})
		for i := range n {
			group.Go(func() {
				<-begin
				all[i], errs[i] = SelfSigned(dir, nil, c.Now, slog.New(slog.DiscardHandler))
			})
		}
		close(begin)
		group.Wait()
		for i, l := range all {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if err := verify(leaf(t, l), readCert(t, l.CAFile()), "localhost", c.Now()); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		}
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 2 {
			t.Errorf("left in the folder: %v, %v", names, err)
		}
	}
	startAtOnce() // no CA yet
	c.add(caLife - 100*day)
	startAtOnce() // one that must be renewed
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(e.Name() + "\n" + string(data))
	}
	return all.String()
}
