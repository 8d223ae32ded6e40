package cli

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeCA writes the certificate of an httptest server where a client finds it.
func writeCA(t *testing.T, server *httptest.Server, path string) {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClientTrust(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()
	t.Chdir(t.TempDir())
	get := func(c Client) error {
		c.URL = server.URL
		client, err := c.HTTP()
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		resp, err := client.Get(server.URL)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	untrusted := func(err error) bool {
		_, ok := errors.AsType[*tls.CertificateVerificationError](err)
		return ok
	}
	if err := get(Client{}); !untrusted(err) {
		t.Errorf("an unknown CA: %v", err)
	}
	if err := get(Client{Insecure: true}); err != nil {
		t.Errorf("--insecure: %v", err)
	}
	writeCA(t, server, "other/ca.pem")
	if err := get(Client{CACert: "other/ca.pem"}); err != nil {
		t.Errorf("--cacert: %v", err)
	}
	writeCA(t, server, "data/tls/ca.pem")
	if err := get(Client{}); err != nil {
		t.Errorf("the local CA: %v", err)
	}
	if err := get(Client{CACert: "none.pem"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	os.WriteFile("empty.pem", []byte("nothing"), 0o600)
	if err := get(Client{CACert: "empty.pem"}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no certificate: %v", err)
	}
}

// The token reaches the named server, and no other, also not by a redirect.
func TestClientToken(t *testing.T) {
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, "other:"+r.Header.Get("Authorization"))
	}))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	client, err := Client{URL: server.URL, Token: "secret"}.HTTP()
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for _, url := range []string{server.URL, other.URL} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if got, want := strings.Join(seen, " "), "Bearer secret other:"; got != want {
		t.Errorf("seen %q, want %q", got, want)
	}
}

func TestClientURL(t *testing.T) {
	for _, url := range []string{"", "localhost:8443", "ftp://localhost", "https://", "://"} {
		_, err := Client{URL: url}.HTTP()
		if _, ok := errors.AsType[*Hint](err); !ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestClientTokenCharacters(t *testing.T) {
	for _, token := range []string{"a b", "a\nb", "\u00e9", " a"} {
		if _, err := (Client{URL: "https://localhost", Token: token}).HTTP(); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", token, err)
		}
	}
}
