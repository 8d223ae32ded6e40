package cli

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	status, body := http.StatusOK, "ready"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for _, admin := range []string{address, ":" + port, "0.0.0.0:" + port} {
		if err := (Health{Admin: admin}).Run(t.Context()); err != nil {
			t.Errorf("%s: %v", admin, err)
		}
	}
	status, body = http.StatusServiceUnavailable, "the disk is full\n"
	err := Health{Admin: address}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: the disk is full") {
		t.Errorf("not ready: %v", err)
	}
	// A redirect is not an answer to follow.
	status = http.StatusFound
	if err := (Health{Admin: address}).Run(t.Context()); err == nil {
		t.Error("a redirect counts as ready")
	}
	server.Close()
	err = Health{Admin: address}.Run(t.Context())
	if _, ok := errors.AsType[*Hint](err); !ok {
		t.Errorf("no server: %v", err)
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:9091": "127.0.0.1:9091",
		"0.0.0.0:9091":   "127.0.0.1:9091",
		":9091":          "127.0.0.1:9091",
		"[::]:9091":      "[::1]:9091",
		"[::1]:9091":     "[::1]:9091",
		"admin:80":       "admin:80",
		"":               "",
		"127.0.0.1":      "",
		"127.0.0.1:0":    "",
		"127.0.0.1:":     "",
	} {
		got, err := reachable(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("reachable(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}
