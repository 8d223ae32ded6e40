package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/internal/pebble"
	"inturn/internal/program"
)

// The whole way: no certificate while the authority is away, then one from it, and
// events over it.
func TestServeACME(t *testing.T) {
	t.Parallel()
	program.NeedTool(t, "curl")
	dir := t.TempDir()
	port, plainPort := pebble.FreePort(t), pebble.FreePort(t)
	ca := pebble.Start(t, plainPort, port, 0)
	ca.Away(true)
	root := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(root, ca.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	const token = "a-secret-of-this-test"
	env := []string{"INTURN_TOKEN=" + token, "INTURN_LISTEN=127.0.0.1:" + strconv.Itoa(port), "INTURN_HTTP_LISTEN=127.0.0.1:" + strconv.Itoa(plainPort)}
	args := []string{"--tls", "acme", "--domain", "events.test", "--acme-email", "ops@example.org", "--acme-ca", ca.URL, "--acme-root", ca.RootFile}
	events := func(port int, scheme string) []string {
		return []string{"--cacert", root, "--connect-to", fmt.Sprintf("::127.0.0.1:%d", port), scheme + "://events.test/v1/events"}
	}
	post := []string{"-H", "Authorization: Bearer " + token, "--data-binary", chat("a", "1", "x")}

	s := program.Serve(t, dir, env, args...)
	if s.Line(`"level":"WARN"`, "waiting for a certificate", `"domain":"events.test"`, ca.URL) == "" {
		s.Wait(t, "waiting for a certificate: handshakes fail until it is there")
	}
	if w := tellsReady(t, s); !strings.Contains(w, "no certificate for events.test yet") {
		t.Errorf("readyz without a certificate: %q", w)
	}
	r := program.RunCommand(t, quietCurl(t, append(events(port, "https"), post...)...))
	const connectError = 35 // CURLE_SSL_CONNECT_ERROR
	if r.Status != connectError || !strings.Contains(r.ErrOut, "unrecognized name") {
		t.Errorf("without a certificate curl ends with %+v", r)
	}
	a := program.Curl(t, events(plainPort, "http")...)
	if a.Status != 308 || a.Header.Get("Location") != "https://events.test/v1/events" {
		t.Errorf("port 80: %d %v", a.Status, a.Header)
	}
	a = program.Curl(t, append(events(plainPort, "http"), post...)...)
	if p := a.Problem(t); a.Status != 403 || p.Type != "urn:inturn:problem:https-only" {
		t.Errorf("an event at port 80: %d %s", a.Status, a.Body)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("it ended with status %d", status)
	}

	ca.Away(false)
	s = program.Serve(t, dir, env, args...)
	s.Wait(t, "certificate obtained")
	for limit := time.Now().Add(program.Patience); tellsReady(t, s) != "" && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
	const metric = "inturn_certificate_end_timestamp_seconds 1."
	if a := program.Curl(t, "http://"+s.Admin+"/metrics", "-H", "Authorization: Bearer "+token); !strings.Contains(a.Body, metric) {
		t.Errorf("the certificate's end is not among the metrics: %d", a.Status)
	}
	a = program.Curl(t, append(events(port, "https"), append(post, "--http2", "-w", "%{http_version}")...)...)
	if a.Status != 202 {
		t.Errorf("an event: %d %s", a.Status, a.Body)
	}
	a = program.Curl(t, append(events(port, "https"), "--data-binary", chat("a", "2", "x"))...)
	if a.Status != 401 {
		t.Errorf("an event without a token: %d %s", a.Status, a.Body)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
	wantCheck(t, dir)
	if strings.Contains(s.Logged(), token) || strings.Contains(s.Logged(), "PRIVATE KEY") {
		t.Error("a secret is in the log")
	}
	for _, name := range []string{"data/tls", "data/tls/acme"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

// quietCurl is a curl that may fail.
func quietCurl(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program.NeedTool(t, "curl")
	cmd := exec.CommandContext(t.Context(), "curl", append([]string{"--silent", "--show-error", "--max-time", "60"}, args...)...)
	cmd.Env = program.Env()
	return cmd
}

// writePair makes a certificate for name by itself.
func writePair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(24 * time.Hour), NotBefore: time.Now().Add(-time.Hour)},
		&x509.Certificate{Subject: pkix.Name{CommonName: name}}, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A running server takes a new pair of files, and keeps the old one while they are bad.
func TestServeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := writePair(t, dir, "one.test")
	s := program.Serve(t, dir, nil, "--tls", "files", "--cert", cert, "--key", key)
	served := func(want string) {
		t.Helper()
		conn, err := tls.Dial("tcp", s.Listen, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("the certificate is for %s, want %s", got, want)
		}
	}
	served("one.test")
	if err := os.WriteFile(cert, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Wait(t, "the certificate's files are not good: the former certificate stays")
	served("one.test")
	writePair(t, dir, "two.test")
	s.Wait(t, "certificate loaded")
	served("two.test")
	if strings.Contains(s.Logged(), "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

// postThrough posts an event as a proxy would: header, then the client's TLS.
func postThrough(t *testing.T, s *program.Server, header, token, forwardedFor string) (status int, err error) {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			_, err = conn.Write([]byte(header))
			return conn, err
		},
		TLSClientConfig: &tls.Config{RootCAs: s.Roots(t)},
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL("/v1/events"), strings.NewReader(chat("a", "1", "x")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Forwarded-For", forwardedFor)
	w, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer w.Body.Close()
	_, err = io.Copy(io.Discard, w.Body)
	return w.StatusCode, err
}

// Behind proxies the log has the client's address, and a client can't choose it.
func TestServeBehindProxies(t *testing.T) {
	t.Parallel()
	const (
		token = "a-secret-of-this-test"
		of    = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n"
		of2   = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x7f\x00\x00\x01\x12\x67\x01\xbb"
	)
	for _, c := range []struct {
		name, header, forwardedFor string
		flags                      []string
		remote                     string // in the log; "" for a connection that is cut off
	}{
		{"forwarded", "", "198.51.100.1, 203.0.113.7", []string{"--tls", "off", "--trusted-proxy", "127.0.0.0/8"}, `"remote":"203.0.113.7"`},
		{"forwarded by a stranger", "", "203.0.113.7", []string{"--tls", "off", "--trusted-proxy", "10.0.0.0/8"}, `"remote":"127.0.0.1:`},
		{"PROXY version 2", of2, "", []string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1"}, `"remote":"203.0.113.7:4711"`},
		{"PROXY version 1, and X-Forwarded-For by the client", of, "198.51.100.1", []string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1", "--trusted-proxy", "203.0.113.0/24"}, `"remote":"203.0.113.7:4711"`},
		{"PROXY of a stranger", of2, "", []string{"--proxy-protocol", "--trusted-proxy", "10.0.0.0/8"}, ""},
		{"PROXY that nobody asked for", of2, "", []string{"--trusted-proxy", "127.0.0.1"}, ""},
		{"no header from the proxy", "", "", []string{"--proxy-protocol", "--trusted-proxy", "127.0.0.1"}, ""},
		{"a direct client", "", "", []string{"--proxy-protocol", "--trusted-proxy", "10.0.0.0/8"}, `"remote":"127.0.0.1:`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := program.Serve(t, t.TempDir(), []string{"INTURN_TOKEN=" + token, "INTURN_LOG_LEVEL=debug"}, c.flags...)
			status, err := postThrough(t, s, c.header, token, c.forwardedFor)
			s.Stop(t)
			if c.remote == "" {
				if got := s.Line(`"msg":"request"`); err == nil || got != "" {
					t.Errorf("it was taken: %d %s", status, got)
				}
				return
			}
			if status != 202 || err != nil {
				t.Errorf("%d %v", status, err)
			}
			if s.Line(`"msg":"request"`, `"route":"POST /v1/events"`, c.remote) == "" {
				t.Errorf("the log has no request with %s", c.remote)
			}
		})
	}
}

// What the flags about certificates and proxies say when they don't fit together.
func TestServeTLSFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, _ := writePair(t, dir, "one.test")
	_, otherKey := writePair(t, t.TempDir(), "one.test")
	usage := "see `inturn serve --help`"
	for _, c := range []refused{
		{name: "acme without a domain", args: []string{"--tls", "acme"}, status: 2, says: `serve: --tls acme needs a --domain.+`, hint: `.*--domain events\.example\.com.*`},
		{name: "acme for a wildcard", args: []string{"--tls", "acme", "--domain", "*.a.example"}, status: 2, says: `serve: --tls acme: domain "\*\.a\.example": must not have a wildcard.+`, hint: usage},
		{name: "acme for an address", args: []string{"--tls", "acme", "--domain", "192.0.2.1"}, status: 2, says: `serve: --tls acme: domain "192\.0\.2\.1": must be a host name, not an address`, hint: usage},
		{name: "acme at no URL", args: []string{"--tls", "acme", "--domain", "a.example", "--acme-ca", "http://ca"}, status: 2, says: `serve: --acme-ca "http://ca" is not the URL of a directory`, hint: `such as https://.+`},
		{name: "acme without tokens", args: []string{"--tls", "acme", "--domain", "a.example"}, status: 1, says: `serve: --tls acme and --trusted-proxy are for clients from elsewhere, and there are no tokens.+`, hint: `.+--insecure-no-auth`},
		{name: "acme with no root", args: []string{"--tls", "acme", "--domain", "a.example", "--acme-root", "none.pem", "--insecure-no-auth"}, status: 1, says: `serve: tls: root: open none\.pem: no such file or directory`, hint: `.+--acme-root.+`},
		{name: "acme's flag without acme", args: []string{"--acme-email", "a@b.example"}, status: 2, says: `serve: --acme-email does nothing with --tls self-signed`, hint: `say --tls acme too.+`},
		{name: "files without a key", args: []string{"--tls", "files", "--cert", cert}, status: 2, says: `serve: --tls files needs both --cert and --key`, hint: `.+PEM.+`},
		{name: "a certificate without files", args: []string{"--cert", cert}, status: 2, says: `serve: --cert does nothing with --tls self-signed`, hint: `say --tls files too.+`},
		{name: "a pair that is none", args: []string{"--tls", "files", "--cert", cert, "--key", otherKey}, status: 1, says: `serve: tls: .+ are no pair: .+`, hint: `--cert must be.+`},
		{name: "nowhere to redirect to", args: []string{"--tls", "off", "--http-listen", "127.0.0.1:0", "--domain", "a.example"}, status: 2, says: `serve: --http-listen redirects to HTTPS.+`, hint: `.+--domain`},
		{name: "no name to redirect to", args: []string{"--http-listen", "127.0.0.1:0"}, status: 2, says: `serve: --http-listen redirects to HTTPS.+`, hint: `.+--domain`},
		{name: "a range that is none", args: []string{"--trusted-proxy", "10.0.0.1/8"}, status: 2, says: `serve: --trusted-proxy: "10\.0\.0\.1/8" is not a range.+`, hint: usage},
		{name: "PROXY headers of anybody", args: []string{"--proxy-protocol"}, status: 2, says: `serve: --proxy-protocol needs --trusted-proxy.+`, hint: `.+--trusted-proxy 172\.16\.0\.0/12`},
		{name: "a proxy without tokens", args: []string{"--tls", "off", "--trusted-proxy", "127.0.0.1"}, status: 1, says: `serve: --tls acme and --trusted-proxy are for clients from elsewhere.+`, hint: `.+--insecure-no-auth`},
	} {
		c.args = append([]string{"serve"}, c.args...)
		c.run(t, dir)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	refused{name: "the port for HTTP is taken", args: []string{"serve", "--domain", "a.example", "--http-listen", at}, status: 1,
		says: `serve: http: listen on ` + at + `: .*address already in use`, hint: `.*--http-listen.*`}.run(t, dir)
}

// tellsReady asks /readyz for its warning.
func tellsReady(t *testing.T, s *program.Server) string {
	t.Helper()
	a := program.Curl(t, "http://"+s.Admin+"/readyz")
	var told struct{ Status, Warning string }
	if err := json.Unmarshal([]byte(a.Body), &told); err != nil || a.Status != 200 || told.Status != "ready" {
		t.Errorf("readyz: %d %s", a.Status, a.Body)
	}
	return told.Warning
}
