// Package pebble runs Let's Encrypt's test authority (Pebble) inside a test, with a
// DNS server of its own, and lets it go away and come back.
package pebble

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// Blocked is a name that the authority never gives a certificate for.
const Blocked = "blocked.test"

// CA is a running authority. Every name leads to 127.0.0.1, where it looks for the
// answers to its challenges on the two ports it was given.
type CA struct {
	URL      string // of its directory
	RootFile string // the root certificates that the authority's own HTTPS certificate is checked against

	away    atomic.Bool
	issuing *ca.CAImpl
}

// Start runs an authority until the test ends. httpPort and tlsPort stand in for 80
// and 443; certificates last lifetime seconds, 0 for its own default of 90 days.
func Start(t *testing.T, httpPort, tlsPort int, lifetime uint64) *CA {
	t.Helper()
	// Pebble reads them when it is made; by default it dawdles and refuses at random.
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"} {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
	}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if err := store.AddBlockedDomain(Blocked); err != nil {
		t.Fatal(err)
	}
	c := &CA{issuing: ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default", ValidityPeriod: lifetime}})}
	front := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, startDNS(t), store), c.issuing,
		[]string{"pebble.letsencrypt.org"}, false, false, 0, 0)
	handler := front.Handler()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.away.Load() {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)

	c.URL = server.URL + wfe.DirectoryPath
	c.RootFile = filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(c.RootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// startDNS runs a DNS server until the test ends, and returns its address. It listens
// before the address is known to Pebble, since a port that was only free a moment ago may
// be another test's by now. Pebble asks over TCP.
func startDNS(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(here)}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		l.Close() // Shutdown is an error before the server has begun, and waits for nothing else
		_ = server.Shutdown()
		<-ended
	})
	return l.Addr().String()
}

// here answers that every name is 127.0.0.1, and has no other records.
func here(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	for _, q := range query.Question {
		if q.Qtype == dns.TypeA {
			answer.Answer = append(answer.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.IPv4(127, 0, 0, 1),
			})
		}
	}
	_ = w.WriteMsg(answer) // Pebble asks again
}

// Away makes every request to the authority fail, until it is called with false.
func (c *CA) Away(away bool) { c.away.Store(away) }

// RootPEM is the root that clients of the certified server trust.
func (c *CA) RootPEM() []byte { return c.issuing.GetRootCert(0).PEM() }

// Roots is RootPEM as a pool.
func (c *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.RootPEM())
	return pool
}

// FreePort returns a port that was free a moment ago: the authority wants to know
// ports before anybody listens there. It is below those that systems give away by
// themselves (RFC 6335, section 6; Linux begins at 32768), so that no other test's
// listener or connection gets it meanwhile.
func FreePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(22000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port was found")
	return 0
}

// Leftovers are goroutines that the authority and its clients' library start and
// never end.
func Leftovers() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
	}
}
