package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"inturn/db"
)

// serve starts a real server on loopback and returns its address.
func serve(t *testing.T, srv *http.Server, maxConns int) string {
	t.Helper()
	l, err := Listen("127.0.0.1:0", maxConns)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestASlowHeaderIsCutOff(t *testing.T) {
	srv := Server(newAPI(t, Options{}), nil, nil)
	if srv.ReadHeaderTimeout <= 0 || srv.ReadTimeout <= 0 || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes <= 0 {
		t.Errorf("a limit is not set: %+v", srv)
	}
	srv.ReadHeaderTimeout = 20 * time.Millisecond
	c := dial(t, serve(t, srv, 0))
	fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Sl")
	if _, err := io.ReadAll(c); err != nil { // returns when the server has closed
		t.Errorf("read: %v", err)
	}
}

func TestALargeHeaderIsRefused(t *testing.T) {
	c := dial(t, serve(t, Server(newAPI(t, Options{}), nil, nil), 0))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", maxHeader+8<<10))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v, %v", r, err)
	}
}

func TestASlowBodyIsRefused(t *testing.T) {
	srv := Server(newAPI(t, Options{}), nil, nil)
	srv.ReadTimeout = 20 * time.Millisecond
	c := dial(t, serve(t, srv, 0))
	fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%v, %v", r, err)
	}
}

// Past the bound a connection is served only after another has ended.
func TestConnectionsAreBounded(t *testing.T) {
	addr := serve(t, Server(newAPI(t, Options{}), nil, nil), 1)
	ask := func(c net.Conn) {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	first, second := dial(t, addr), dial(t, addr)
	ask(first)
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatal(err)
	}
	ask(second)
	second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection was served")
	}
	first.Close()
	second.SetReadDeadline(time.Time{})
	if _, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
}

func TestListenSaysWhatFailed(t *testing.T) {
	l, err := Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(l.Addr().String(), 0); err == nil || !strings.Contains(err.Error(), "listen on 127.0.0.1") {
		t.Errorf("a taken port: %v", err)
	}
}

// The write time-out, and the read time-out of HTTP/1, pass while the answer is
// held: neither may cut it off.
func TestAWaitOutlivesTheTimeouts(t *testing.T) {
	certificates := httptest.NewTLSServer(nil)
	certificate := certificates.TLS.Certificates[0]
	certificates.Close()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			s := &fakeStore{waiting: make(chan int64)}
			h := newAPI(t, Options{Store: s})
			// What short time-outs of the server do, but for its handshake, which may be slow.
			short := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := http.NewResponseController(w)
				if err := errors.Join(c.SetReadDeadline(time.Now().Add(100*time.Millisecond)), c.SetWriteDeadline(time.Now().Add(100*time.Millisecond))); err != nil {
					t.Error(err)
				}
				h.ServeHTTP(w, r)
			})
			srv := Server(short, &tls.Config{Certificates: []tls.Certificate{certificate}}, nil)
			addr := serve(t, srv, 0)
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: proto == "HTTP/2.0"}
			defer transport.CloseIdleConnections()
			answered := make(chan error, 1)
			go func() {
				r, _ := http.NewRequest("POST", "https://"+addr+"/v1/events", strings.NewReader(goodEvent))
				r.Header.Set("Prefer", "wait=60")
				w, err := transport.RoundTrip(r)
				if err == nil {
					defer w.Body.Close()
					body, _ := io.ReadAll(w.Body)
					if w.StatusCode != 200 || w.Proto != proto || !strings.Contains(string(body), `"state":"done"`) {
						err = fmt.Errorf("%s %d %s", w.Proto, w.StatusCode, body)
					}
				}
				answered <- err
			}()
			<-s.waiting
			<-time.After(300 * time.Millisecond) // the time-outs must have passed
			s.settle(1, db.Result{Status: db.Done})
			if err := <-answered; err != nil {
				t.Error(err)
			}
		})
	}
}

// The context of a request whose sender is gone ends the wait for it.
func TestASenderThatLeaves(t *testing.T) {
	log, lines := logLines()
	s := &fakeStore{waiting: make(chan int64)}
	handled := make(chan struct{})
	h := newAPI(t, Options{Store: s, Log: log})
	srv := Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(handled)
		h.ServeHTTP(w, r)
	}), nil, nil)
	c := dial(t, serve(t, srv, 0))
	fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\nContent-Length: %d\r\n\r\n%s", len(goodEvent), goodEvent)
	<-s.waiting
	c.Close()
	<-handled
	if got := lines(); len(got) != 1 || got[0]["status"] != 202.0 {
		t.Errorf("log: %v", got)
	}
}

func TestErrorLog(t *testing.T) {
	log, lines := logLines()
	now := fakeTime
	w := &errorWriter{log: log, now: func() time.Time { return now }}
	for range 3 {
		fmt.Fprintln(w, "http: Accept error: too many open files")
		fmt.Fprintln(w, "http: TLS handshake error from 192.0.2.1:1: EOF")
	}
	now = now.Add(time.Second)
	fmt.Fprintln(w, strings.Repeat("x", 5000))
	got := lines()
	var levels []string
	for _, l := range got {
		levels = append(levels, l["level"].(string))
	}
	if strings.Join(levels, " ") != "WARN DEBUG DEBUG DEBUG WARN" {
		t.Fatalf("levels %v", levels)
	}
	if got[4]["left_out"] != 2.0 || len(got[4]["said"].(string)) > 1010 {
		t.Errorf("the last line: %v", got[4])
	}
	if !slog.New(slog.DiscardHandler).Enabled(context.Background(), slog.LevelError) {
		errorLog(nil).Print("nothing happens")
	}
}

// A sender that listens only after its last byte hears why its body was refused, and one
// that listens first hears it before. What comes is more than the kernel's buffers hold.
// What was read of it is not held meanwhile, and what comes behind it is no request.
func TestRefusedBodyIsReadAway(t *testing.T) {
	f, h := newIngestAPI(Options{Store: &fakeStore{}, Functions: testSet(t)})
	patient := serve(t, Server(h, nil, nil), 0)
	srv := Server(h, nil, nil)
	srv.ReadTimeout = 20 * time.Millisecond
	hasty := serve(t, srv, 0)
	body := strings.Repeat("x", 16<<20)
	length := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
	chunk, end := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body)), "\r\n0\r\n\r\n"
	for _, tt := range []struct{ name, addr, before, after, want string }{
		{"its length is known", patient, length + body, "", "413 too-large"},
		{"in chunks", patient, chunk + body + end, "", "413 too-large"},
		{"not sent yet", patient, length, body, "413 too-large"},
		{"half of it is sent", patient, chunk + body[:len(body)/2], body[len(body)/2:] + end, "413 too-large"},
		{"half of it is sent, as was agreed", patient, "Expect: 100-continue\r\n" + chunk + body[:len(body)/2], body[len(body)/2:] + end, "413 too-large"},
		{"its chunks are none", patient, "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "", "400 invalid-request"},
		{"too slow", hasty, "Content-Length: 100\r\n\r\n{", "", "408 request-timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, tt.addr)
			send := func(text string) {
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
			}
			send("POST /v1/events HTTP/1.1\r\nHost: localhost\r\n" + tt.before)
			r := bufio.NewReader(c)
			w, err := http.ReadResponse(r, nil)
			for err == nil && w.StatusCode == http.StatusContinue {
				w, err = http.ReadResponse(r, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			var p struct{ Type string }
			if err := json.NewDecoder(w.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(w.StatusCode, " ", strings.TrimPrefix(p.Type, "urn:inturn:problem:")); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if n := f.bodies.Load(); n != 0 {
				t.Errorf("%d bytes are held while the rest comes", n)
			}
			send(tt.after)
			io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n") // it may be closed by now
			if w, err := http.ReadResponse(r, nil); err == nil {
				t.Errorf("what comes behind it is answered: %s", w.Status)
			}
		})
	}
}
