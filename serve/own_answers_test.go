package serve

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Requests that net/http can't read are answered with problems, over TLS, in the clear and on
// the admin address.
func TestUnreadableRequestsAreAnsweredWithProblems(t *testing.T) {
	s := serveHere(t, shippedFunctions(), "--db", filepath.Join(t.TempDir(), "inturn.db"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	for _, c := range []struct {
		name, request, problem string
		status                 int
	}{
		{"no request line", "nonsense\r\n\r\n", "invalid-request", 400},
		{"no Host", "GET /healthz HTTP/1.1\r\n\r\n", "invalid-request", 400},
		{"a blank in a header's name", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA b: c\r\n\r\n", "invalid-request", 400},
		{"two lengths", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "invalid-request", 400},
		{"a long header", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + strings.Repeat("x", 1<<16) + "\r\n\r\n", "header-too-large", 431},
		{"another coding", "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", "not-implemented", 501},
		{"another expectation", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: the-best\r\n\r\n", "expectation-failed", 417},
		{"another version", "GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n", "version-not-supported", 505},
	} {
		for where, dial := range map[string]func() (net.Conn, error){
			"TLS":   func() (net.Conn, error) { return tls.Dial("tcp", s.Public, &tls.Config{InsecureSkipVerify: true}) },
			"admin": func() (net.Conn, error) { return net.Dial("tcp", s.Admin) },
		} {
			t.Run(where+"/"+c.name, func(t *testing.T) {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				go io.WriteString(conn, c.request)
				wantOwnProblem(t, conn, c.status, c.problem)
			})
		}
	}
	t.Run("HTTP to HTTPS", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.Public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		wantOwnProblem(t, conn, 400, "https-required")
	})
}

func wantOwnProblem(t *testing.T, conn net.Conn, status int, name string) {
	t.Helper()
	a, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var p struct {
		Type, Title, Detail string
		Status              int
		RequestID           string `json:"request_id"`
	}
	if err := json.NewDecoder(a.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != status || p.Status != status || p.Type != "urn:inturn:problem:"+name || p.Detail == "" || p.Title == "" ||
		!strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") || p.RequestID == "" || a.Header.Get("X-Request-Id") != p.RequestID {
		t.Errorf("%s, %+v", a.Status, p)
	}
}
