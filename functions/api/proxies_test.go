package api

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func proxies(t testing.TB, ranges ...string) Proxies {
	t.Helper()
	p, err := ParseProxies(ranges)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseProxies(t *testing.T) {
	for _, text := range []string{"", "10.0.0.1/8", "10.0.0.0/33", "a", "10.0.0.0/8,11.0.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.1:80"} {
		if p, err := ParseProxies([]string{"127.0.0.1", text}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: %v %v", text, p, err)
		}
	}
}

// Only a trusted proxy may say who the client is, and only about its own peer.
func TestForwardedFor(t *testing.T) {
	p := proxies(t, "10.0.0.0/8", "2001:db8::/32", "192.0.2.1")
	for _, c := range []struct {
		peer   string
		header []string
		addr   string
	}{
		{"10.1.2.3:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"[::ffff:10.1.2.3]:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"192.0.2.1:1", []string{"203.0.113.7:1234"}, "203.0.113.7"},
		{"[2001:db8::1]:1", []string{"[2001:db9::7]:1234"}, "2001:db9::7"},
		{"[2001:db8::1]:1", []string{"2001:db9::7"}, "2001:db9::7"},
		// What the client wrote itself stands before what the proxies wrote.
		{"10.1.2.3:1", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"10.1.2.3:1", []string{"198.51.100.1", "203.0.113.7, 10.0.0.9"}, "203.0.113.7"},
		{"10.1.2.3:1", []string{"10.6.6.6, 10.0.0.9"}, "10.6.6.6"},
		{"10.1.2.3:1", []string{"203.0.113.7, unknown"}, "10.1.2.3:1"},
		{"10.1.2.3:1", []string{"203.0.113.7, ;\n, 10.0.0.9"}, "10.0.0.9"},
		{"10.1.2.3:1", nil, "10.1.2.3:1"},
		{"10.1.2.3:1", []string{strings.Repeat("1", 10_000)}, "10.1.2.3:1"},
		{"203.0.113.8:1", []string{"198.51.100.1"}, "203.0.113.8:1"},
		{"192.0.2.2:1", []string{"198.51.100.1"}, "192.0.2.2:1"},
		{"@", []string{"198.51.100.1"}, "@"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.header
		r.Header["X-Forwarded-Proto"] = []string{"HTTPS"}
		addr, scheme := p.client(r)
		if addr != c.addr {
			t.Errorf("%s %q: %s, want %s", c.peer, c.header, addr, c.addr)
		}
		if trusted := !strings.HasPrefix(c.peer, "203") && c.peer != "192.0.2.2:1" && c.peer != "@"; trusted != (scheme == "https") {
			t.Errorf("%s: scheme %q", c.peer, scheme)
		}
		if addr, scheme := Proxies(nil).client(r); addr != c.peer || scheme != "" {
			t.Errorf("without proxies: %s %s", addr, scheme)
		}
	}
	for value, want := range map[string]string{"http": "http", "https": "https", "ws": "", "https, http": "", "": ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.1.2.3:1"
		r.Header.Set("X-Forwarded-Proto", value)
		if _, scheme := p.client(r); scheme != want {
			t.Errorf("X-Forwarded-Proto %q: %q", value, scheme)
		}
	}
}

func TestTheClientBehindAProxyIsLogged(t *testing.T) {
	for _, c := range []struct {
		trusted, remote string
		scheme          any
	}{{"192.0.2.0/24", "203.0.113.7", "http"}, {"10.0.0.0/8", "192.0.2.1:1234", nil}} { // httptest's requests come from 192.0.2.1:1234
		log, lines := logLines()
		h := newAPI(t, Options{Log: log, Proxies: proxies(t, c.trusted)})
		request(h, "POST", "/v1/events", goodEvent, "X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "http")
		if l := lines()[0]; l["remote"] != c.remote || l["scheme"] != c.scheme {
			t.Errorf("trusted %s: %v", c.trusted, l)
		}
	}
}

// header2 is a header of version 2 for a client's address, with more after it.
func header2(client string, extra ...byte) []byte {
	addr := net.ParseIP(client).To4()
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11)
	b = binary.BigEndian.AppendUint16(b, uint16(12+len(extra)))
	b = append(append(b, addr...), 127, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, 4711)
	b = binary.BigEndian.AppendUint16(b, 443)
	return append(b, extra...)
}

// whoServer answers with the client's address, behind ProxyListener.
func whoServer(t testing.TB, timeout time.Duration, log *slog.Logger, trusted ...string) string {
	t.Helper()
	l, err := Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }), nil, log)
	srv.ReadHeaderTimeout = min(srv.ReadHeaderTimeout, 10*timeout) // of what stands behind the header
	behind, ended := proxyListener(l, proxies(t, trusted...), log, timeout), make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(behind)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-ended
	})
	return l.Addr().String()
}

const getRequest = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// ask sends raw bytes and returns the body of a 200, else what came.
func ask(t testing.TB, addr string, raw []byte) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(raw); err != nil {
		return "cut off"
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "cut off"
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return r.Status
	}
	return string(body)
}

func TestProxyProtocol(t *testing.T) {
	log, lines := logLines()
	trusting := whoServer(t, time.Minute, log, "127.0.0.0/8")
	wary := whoServer(t, time.Minute, nil, "10.0.0.0/8")
	with := func(header []byte) []byte { return append(header, getRequest...) }
	local := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0x00, 0, 0)
	for _, c := range []struct {
		name string
		raw  []byte
		want string // prefix
	}{
		{"version 2", with(header2("203.0.113.7")), "203.0.113.7:4711"},
		{"version 2 with a TLV", with(header2("203.0.113.7", 0x04, 0, 2, 1, 2)), "203.0.113.7:4711"},
		{"version 1", with([]byte("PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n")), "203.0.113.7:4711"},
		{"the proxy's own", with(local), "127.0.0.1:"},
		{"none", []byte(getRequest), "cut off"},
		{"cut version 1", []byte("PROXY TCP4 203.0.113.7\r\n" + getRequest), "cut off"},
		{"endless version 1", []byte("PROXY TCP4 " + strings.Repeat("2", 10_000)), "cut off"},
		{"oversized version 2", with(append(append([]byte{}, header2("203.0.113.7")[:14]...), bytes.Repeat([]byte{0xff}, 70_000)...)), "cut off"},
		{"version 3", with(bytes.Replace(header2("203.0.113.7"), []byte{0x21}, []byte{0x31}, 1)), "cut off"},
		{"a UNIX socket", with(append(append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x31, 0, 216), make([]byte, 216)...)), "cut off"},
		{"UDP", with(bytes.Replace(header2("203.0.113.7"), []byte{0x21, 0x11}, []byte{0x21, 0x12}, 1)), "cut off"},
		{"two headers", with(append(header2("203.0.113.7"), header2("203.0.113.8")...)), "400 Bad Request"},
	} {
		if got := ask(t, trusting, c.raw); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	complaints := 0
	for _, l := range lines() {
		if l["level"] == "WARN" && strings.Contains(l["msg"].(string), "must begin with a PROXY protocol header") && strings.HasPrefix(l["proxy"].(string), "127.0.0.1:") {
			complaints++
		}
	}
	if complaints != 1 {
		t.Errorf("%d complaints about the proxy, want 1 a minute: %v", complaints, lines())
	}

	// From elsewhere a header is no header, and none is needed.
	if got := ask(t, wary, []byte(getRequest)); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("a direct client: %q", got)
	}
	for _, raw := range [][]byte{with(header2("203.0.113.7")), with([]byte("PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n"))} {
		if got := ask(t, wary, raw); got != "400 Bad Request" {
			t.Errorf("a spoofed header: %q", got)
		}
	}
}

// A proxy that sends nothing is cut off in time, and nobody waits for it. One that
// only looks whether the port is open is no reason for a line of the log.
func TestASlowProxyHeader(t *testing.T) {
	log, lines := logLines()
	addr := whoServer(t, 300*time.Millisecond, log, "127.0.0.1")
	silent, slow := dial(t, addr), dial(t, addr)
	if _, err := slow.Write(header2("203.0.113.7")[:20]); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, addr, append(header2("203.0.113.7"), getRequest...)); got != "203.0.113.7:4711" {
		t.Errorf("beside silent ones: %q", got)
	}
	for _, c := range []net.Conn{silent, slow} {
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 && !bytes.HasPrefix(b, []byte("HTTP/1.1 400")) { // returns when the server has closed
			t.Errorf("%q, %v", b, err)
		}
	}
	if all := lines(); len(all) != 1 || all[0]["proxy"] != slow.LocalAddr().String() {
		t.Errorf("log: %v", all)
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add(header2("203.0.113.7"))
	f.Add([]byte("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0x00, 0xff, 0xff))
	addr := whoServer(f, 50*time.Millisecond, nil, "127.0.0.1")
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := ask(t, addr, append(slices.Clip(raw), getRequest...))
		if _, _, err := net.SplitHostPort(got); err != nil && got != "cut off" && !strings.HasPrefix(got, "4") && !strings.HasPrefix(got, "5") {
			t.Errorf("%q", got)
		}
	})
}

func TestRedirect(t *testing.T) {
	s := &fakeStore{}
	log, lines := logLines()
	o := Options{Store: s, Log: log, Hosts: []string{"events.example.com"}}
	h, forwarded := Redirect(o, 8443), Redirect(o, 0)
	for _, c := range []struct{ host, target, port8443, own string }{
		{"events.example.com", "/v1/events?a=b%20c", "https://events.example.com:8443/v1/events?a=b%20c", "https://events.example.com/v1/events?a=b%20c"},
		{"EVENTS.example.com:80", "/a%2Fb", "https://EVENTS.example.com:8443/a%2Fb", "https://EVENTS.example.com/a%2Fb"},
		{"[::1]:80", "/", "https://[::1]:8443/", "https://[::1]/"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for i, want := range []string{c.port8443, c.own} {
				w := requestTo([]http.Handler{h, forwarded}[i], c.host, method, c.target, "")
				if w.Code != 308 || w.Header().Get("Location") != want {
					t.Errorf("%s %s%s: %d to %q, want %q", method, c.host, c.target, w.Code, w.Header().Get("Location"), want)
				}
			}
		}
	}
	// Nothing is taken here, and nobody is sent to a name that isn't ours.
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "FOO"} {
		w := requestTo(h, "events.example.com", method, "/v1/events", goodEvent, "Authorization", "Bearer secret")
		if w.Header().Get("Location") != "" {
			t.Errorf("%s is redirected", method)
		}
		if p := wantProblem(t, w, 403, "https-only"); !strings.Contains(p.Detail, "nothing was stored") {
			t.Errorf("%s: %s", method, p.Detail)
		}
	}
	for _, host := range []string{"evil.example", "events.example.com.evil.example", "evil.example:80", "", "a@events.example.com"} {
		w := requestTo(h, host, "GET", "/", "")
		wantProblem(t, w, 421, "unknown-host")
	}
	if len(s.events) != 0 {
		t.Errorf("%d events were taken over plain HTTP", len(s.events))
	}
	if strings.Contains(fmt.Sprint(lines()), "secret") {
		t.Error("a token is in the log")
	}
}
