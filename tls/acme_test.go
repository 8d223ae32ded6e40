package tls

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"inturn/internal/pebble"

	"github.com/caddyserver/certmagic"
)

// patience bounds a wait for what must come on a slow machine too.
const patience = time.Minute

// logbook is a log that tests wait for.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next line
}

func newLogbook() *logbook { return &logbook{more: make(chan struct{})} }

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(line)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait returns when one line of the log has all of parts in it.
func (l *logbook) wait(t *testing.T, parts ...string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		l.mu.Lock()
		text, more := l.text.String(), l.more
		l.mu.Unlock()
		if line := find(text, parts...); line != "" {
			return line
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("the log has no line with %q:\n%s", parts, text)
		}
	}
}

func find(text string, parts ...string) string {
lines:
	for line := range strings.Lines(text) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		return line
	}
	return ""
}

// acmeServer is an HTTPS server with certificates of an authority, and its port 80.
// Each test has domains of its own: the library has one list of challenges in a
// process, by name, so that two servers would answer each other's.
type acmeServer struct {
	*ACME
	tls, plain net.Listener
	log        *logbook
	again      chan time.Time // begins another round
	end        func()         // may be called twice
}

// listeners take the ports that an authority was told of.
func listeners(t *testing.T) (public, plain net.Listener) {
	t.Helper()
	for _, l := range []*net.Listener{&public, &plain} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	return public, plain
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// serveACME serves as the program does. Without plain there is no port 80.
func serveACME(t *testing.T, public, plain net.Listener, o ACMEOptions) *acmeServer {
	t.Helper()
	s := &acmeServer{tls: public, plain: plain, log: newLogbook(), again: make(chan time.Time)}
	o.Public, o.Log = public.Addr(), slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if plain != nil {
		o.Plain = plain.Addr()
	}
	var err error
	if s.ACME, err = OpenACME(o); err != nil {
		t.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello over %s", r.Proto) })
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	secure := &http.Server{Handler: hello, TLSConfig: s.Config(), ReadHeaderTimeout: patience, ErrorLog: quiet}
	open := &http.Server{Handler: s.Challenges(http.NotFoundHandler()), ReadHeaderTimeout: patience, ErrorLog: quiet}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = secure.ServeTLS(public, "", "") })
	if plain != nil {
		group.Go(func() { _ = open.Serve(plain) })
	}
	group.Go(func() { s.run(ctx, s.again) })
	s.end = sync.OnceFunc(func() {
		cancel()
		secure.Close()
		open.Close()
		group.Wait()
		s.Close()
	})
	t.Cleanup(func() {
		s.end()
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
		if text := s.log.String(); strings.Contains(text, "PRIVATE KEY") {
			t.Error("a key is in the log")
		}
	})
	return s
}

// dial shakes hands as a client of name that trusts the authority.
func (s *acmeServer) dial(ca *pebble.CA, name string, change ...func(*stdtls.Config)) (*stdtls.Conn, error) {
	config := &stdtls.Config{RootCAs: ca.Roots(), ServerName: name}
	for _, c := range change {
		c(config)
	}
	return stdtls.Dial("tcp", s.tls.Addr().String(), config)
}

// served returns the certificate that a client of name gets.
func (s *acmeServer) served(t *testing.T, ca *pebble.CA, name string) *x509.Certificate {
	t.Helper()
	conn, err := s.dial(ca, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// obtained waits until a client of name can connect.
func (s *acmeServer) obtained(t *testing.T, name string) {
	t.Helper()
	s.log.wait(t, "certificate obtained", "domain="+name)
	s.until(t, func() bool { return s.leaf(name) != nil })
}

// until waits for what follows on a line of the log by a moment.
func (s *acmeServer) until(t *testing.T, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it does not come:\n%s", s.log)
		}
	}
}

// Each challenge alone suffices, and the server behind the certificate is an ordinary one.
func TestChallenges(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"http-01", "tls-alpn-01"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			public, plain := listeners(t)
			// A port where nobody listens stands for one that is closed.
			httpPort, tlsPort := portOf(plain), pebble.FreePort(t)
			if by == "tls-alpn-01" {
				httpPort, tlsPort = pebble.FreePort(t), portOf(public)
				plain.Close()
				plain = nil
			}
			ca := pebble.Start(t, httpPort, tlsPort, 0)
			dir := filepath.Join(t.TempDir(), "tls", "acme")
			name, www := by+".test", "www."+by+".test"
			s := serveACME(t, public, plain, ACMEOptions{Domains: []string{strings.ToUpper(name), www}, Email: "ops@example.org", Dir: dir, CA: ca.URL, RootFile: ca.RootFile})
			for _, name := range []string{name, www} {
				s.obtained(t, name)
				if err := s.served(t, ca, name).VerifyHostname(name); err != nil {
					t.Error(err)
				}
			}
			s.log.wait(t, "served key authentication", "challenge="+by)
			if s.NotAfter().Before(time.Now().Add(89*day)) || s.Warning() != "" {
				t.Errorf("ends %v, warning %q", s.NotAfter(), s.Warning())
			}
			wantPrivate(t, dir)
			s.wantOrdinary(t, ca, name)
		})
	}
}

func (s *acmeServer) wantOrdinary(t *testing.T, ca *pebble.CA, name string) {
	t.Helper()
	for _, c := range []struct {
		version uint16
		ok      bool
	}{{stdtls.VersionTLS10, false}, {stdtls.VersionTLS11, false}, {stdtls.VersionTLS12, true}, {stdtls.VersionTLS13, true}} {
		conn, err := s.dial(ca, name, func(config *stdtls.Config) {
			config.MinVersion, config.MaxVersion, config.NextProtos = c.version, c.version, []string{"http/1.1", "h2"}
		})
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", stdtls.VersionName(c.version), err)
		}
		if err == nil {
			if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
				t.Errorf("%s: %q was negotiated", stdtls.VersionName(c.version), p)
			}
			conn.Close()
		}
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &stdtls.Config{RootCAs: ca.Roots(), ServerName: name}}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("https://" + s.tls.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "hello over HTTP/2.0" {
		t.Errorf("%q, %v", body, err)
	}
	// A client that names no host gets the first domain's; a stranger's name gets a clear no.
	conn, err := s.dial(ca, "", func(config *stdtls.Config) { config.InsecureSkipVerify = true })
	if err != nil {
		t.Error(err)
	} else {
		if names := conn.ConnectionState().PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != name {
			t.Errorf("without a name: %v", names)
		}
		conn.Close()
	}
	// A stranger's name is nothing to look up or to log.
	wantUnrecognized(t, s, ca, "other.test")
	if conn, err := s.dial(ca, "other.test", func(config *stdtls.Config) { config.NextProtos = []string{acmeTLS} }); err == nil {
		conn.Close()
		t.Error("a challenge for a stranger's name was answered")
	}
	if line := find(s.log.String(), "other.test"); line != "" {
		t.Error(line)
	}
	// What is for the authority alone gives nothing away, and ends the connection.
	if conn, err := s.dial(ca, name, func(config *stdtls.Config) { config.NextProtos = []string{acmeTLS} }); err == nil {
		conn.Close()
		t.Error("a challenge that nobody set was answered")
	}
}

func wantUnrecognized(t *testing.T, s *acmeServer, ca *pebble.CA, name string) {
	t.Helper()
	conn, err := s.dial(ca, name)
	if err == nil {
		conn.Close()
		t.Errorf("%s: the handshake succeeded", name)
	} else if !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("%s: %v", name, err)
	}
}

func wantPrivate(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files in %s: %v", files, dir, err)
	}
}

// While the authority is away the server is up, and says what it waits for. When it
// comes the next round gets the certificate, which a restart without it still has.
func TestAuthorityAway(t *testing.T) {
	t.Parallel()
	public, plain := listeners(t)
	ca := pebble.Start(t, portOf(plain), portOf(public), 0)
	ca.Away(true)
	o := ACMEOptions{Domains: []string{"later.test"}, Dir: t.TempDir(), CA: ca.URL, RootFile: ca.RootFile}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := serveACME(t, public, plain, o)
	s.log.wait(t, "level=WARN", "waiting for a certificate", "domain=later.test", ca.URL)
	s.log.wait(t, "level=WARN", "certmagic.obtain", "later.test") // why
	wantUnrecognized(t, s, ca, "later.test")
	s.log.wait(t, "level=WARN", "handshake refused", "domain=later.test")
	if r, err := http.Get("http://" + plain.Addr().String()); err != nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("port 80: %v %v", r, err)
	} else {
		r.Body.Close()
	}
	if !s.NotAfter().IsZero() || !strings.Contains(s.Warning(), "no certificate for later.test yet") {
		t.Errorf("ends %v, warning %q", s.NotAfter(), s.Warning())
	}

	ca.Away(false)
	s.again <- time.Now()
	s.obtained(t, "later.test")
	first := s.served(t, ca, "later.test")

	ca.Away(true)
	s.end()
	public, plain = listeners(t)
	s = serveACME(t, public, plain, o)
	if !s.served(t, ca, "later.test").Equal(first) {
		t.Error("the kept certificate is not served while the authority is away")
	}
	s.log.wait(t, "certificate loaded", "later.test")
	if find(s.log.String(), "waiting for") != "" {
		t.Error("it waits for what it has")
	}
}

// A certificate is renewed in time; while that can't be done the former one is served.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, domain, says string }{
		{"full disk", "full.test", "no space left"},
		{"authority away", "away.test", "could not get certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			public, plain := listeners(t)
			ca := pebble.Start(t, portOf(plain), portOf(public), 3600)
			full, now := &fullDisk{}, newClock()
			s := serveACME(t, public, plain, ACMEOptions{Domains: []string{c.domain}, Dir: filepath.Join(t.TempDir(), "acme"), CA: ca.URL, RootFile: ca.RootFile,
				Now: now.Now, renewBefore: 0.9999, storage: full.around})
			s.obtained(t, c.domain)
			first := s.served(t, ca, c.domain)
			due := func() bool { return time.Until(s.leaf(c.domain).NotAfter) < 3598*time.Second }
			s.until(t, due)
			s.again <- time.Now()
			s.log.wait(t, "certificate obtained", "domain="+c.domain, "renewal=true")
			s.until(t, func() bool { return !s.leaf(c.domain).Equal(first) })
			second := s.served(t, ca, c.domain)
			if second.Equal(first) || second.NotAfter.Before(first.NotAfter) {
				t.Errorf("renewed from %v to %v", first.NotAfter, second.NotAfter)
			}

			s.until(t, due)
			full.set(c.domain == "full.test")
			ca.Away(c.domain == "away.test")
			s.again <- time.Now()
			s.log.wait(t, "level=WARN", "certificates:", c.says, c.domain)
			if !s.served(t, ca, c.domain).Equal(second) {
				t.Error("the former certificate is not served")
			}
			now.add(50 * time.Minute)
			if w := s.Warning(); w != "the certificate for "+c.domain+" ends at "+second.NotAfter.UTC().Format(time.RFC3339) {
				t.Errorf("warning %q", w)
			}
		})
	}
}

// A machine that was suspended renews with the first handshake, not with its next timer.
func TestRenewalAfterASuspension(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, domain string
		life         uint64 // in seconds
		asleep       time.Duration
	}{
		{"ended", "ended.test", 3600, 2 * time.Hour},
		{"about to end", "ending.test", 7200, manageEvery + 2*time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			public, plain := listeners(t)
			ca, now := pebble.Start(t, portOf(plain), portOf(public), c.life), newClock()
			s := serveACME(t, public, plain, ACMEOptions{Domains: []string{c.domain}, Dir: filepath.Join(t.TempDir(), "acme"), CA: ca.URL, RootFile: ca.RootFile,
				Now: now.Now, renewBefore: 0.9999})
			s.obtained(t, c.domain)
			first := s.served(t, ca, c.domain)
			s.until(t, func() bool { return time.Until(first.NotAfter) < time.Duration(c.life-2)*time.Second })
			s.served(t, ca, c.domain)
			if s.overdue(first) {
				t.Error("overdue although its round has just been")
			}
			now.add(c.asleep)
			s.served(t, ca, c.domain)
			s.log.wait(t, "certificate obtained", "domain="+c.domain, "renewal=true")
			s.until(t, func() bool { return !s.leaf(c.domain).Equal(first) })
		})
	}
}

// Another e-mail is another account, which may not replace the first one's certificate.
func TestRenewalByAnotherAccount(t *testing.T) {
	t.Parallel()
	public, plain := listeners(t)
	ca := pebble.Start(t, portOf(plain), portOf(public), 3600)
	o := ACMEOptions{Domains: []string{"moved.test"}, Email: "first@example.org", Dir: filepath.Join(t.TempDir(), "acme"), CA: ca.URL, RootFile: ca.RootFile, renewBefore: 0.9999}
	addrs := []string{public.Addr().String(), plain.Addr().String()}
	s := serveACME(t, public, plain, o)
	s.obtained(t, "moved.test")
	first := s.served(t, ca, "moved.test")
	s.end()
	for i, l := range []*net.Listener{&public, &plain} {
		var err error
		if *l, err = net.Listen("tcp", addrs[i]); err != nil { // the authority knows these ports
			t.Fatal(err)
		}
	}
	for time.Until(first.NotAfter) > 3598*time.Second {
		time.Sleep(5 * time.Millisecond)
	}
	o.Email = "second@example.org"
	s = serveACME(t, public, plain, o)
	s.log.wait(t, "certificate obtained", "domain=moved.test", "renewal=true")
	s.until(t, func() bool { return !s.leaf("moved.test").Equal(first) })
	s.served(t, ca, "moved.test")
}

// fullDisk is a folder where nothing more can be written.
type fullDisk struct {
	certmagic.Storage
	full atomic.Bool
}

func (f *fullDisk) set(full bool) { f.full.Store(full) }

func (f *fullDisk) around(s certmagic.Storage) certmagic.Storage {
	f.Storage = s
	return f
}

func (f *fullDisk) Store(ctx context.Context, name string, value []byte) error {
	if f.full.Load() {
		return &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	return f.Storage.Store(ctx, name, value)
}

// A domain that the authority refuses is named in the log, and no other waits for it.
// So it is with a full disk, and once there is room the next round gets what is missing.
func TestRefusedDomainAndFullDisk(t *testing.T) {
	t.Parallel()
	public, plain := listeners(t)
	ca := pebble.Start(t, portOf(plain), portOf(public), 0)
	full := &fullDisk{}
	full.set(true)
	s := serveACME(t, public, plain, ACMEOptions{Domains: []string{pebble.Blocked, "good.test"}, Dir: filepath.Join(t.TempDir(), "acme"), CA: ca.URL, RootFile: ca.RootFile, storage: full.around})
	s.log.wait(t, "level=WARN", "no space left", "good.test")
	wantUnrecognized(t, s, ca, "good.test")

	full.set(false)
	s.again <- time.Now()
	s.obtained(t, "good.test")
	s.served(t, ca, "good.test")
	s.log.wait(t, "level=WARN", "certificates:", pebble.Blocked, "rejectedIdentifier")
	wantUnrecognized(t, s, ca, pebble.Blocked)
	if w := s.Warning(); w != "there is no certificate for "+pebble.Blocked+" yet" || !s.NotAfter().IsZero() {
		t.Errorf("ends %v, warning %q", s.NotAfter(), w)
	}
}

func TestACMEOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	noRoot := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(noRoot, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    ACMEOptions
		says string
	}{
		{ACMEOptions{}, "no domain"},
		{ACMEOptions{Domains: []string{"192.0.2.1"}}, "must be a host name, not an address"},
		{ACMEOptions{Domains: []string{"*.example.com"}}, "must not have a wildcard"},
		{ACMEOptions{Domains: []string{"localhost"}}, "a name that the authority can look up"},
		{ACMEOptions{Domains: []string{"https://a.example"}}, "without scheme"},
		{ACMEOptions{Domains: []string{"a.example"}, RootFile: noRoot}, "there is no certificate in it"},
		{ACMEOptions{Domains: []string{"a.example"}, RootFile: noRoot + ".not"}, "no such file"},
	} {
		c.o.Dir, c.o.Log = dir, slog.New(slog.DiscardHandler)
		a, err := OpenACME(c.o)
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.says)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder was made for bad options: %v", err)
	}
}
