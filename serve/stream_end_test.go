package serve

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/program"

	"github.com/coder/websocket"
)

// A stream at SIGTERM: what was read is answered, the close says 1001, and the file
// has exactly what was answered.
func TestAStreamAtTheEnd(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil)
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	_, port, _ := strings.Cut(s.Listen, ":")
	c, _, err := websocket.Dial(t.Context(), "wss://localhost:"+port+"/v1/stream", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	sent := make(chan struct{})
	go func() { // until the connection ends
		defer close(sent)
		for i := 0; ; i++ {
			event := fmt.Sprintf(`{"client_id":"c%d","message_id":"m%d","type":"work","payload":{"ms":0}}`, i%10, i)
			if c.Write(t.Context(), websocket.MessageText, []byte(event)) != nil {
				return
			}
		}
	}()
	n := 0
	for {
		_, b, err := c.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("ended with %v", err)
			}
			break
		}
		if b[0] != '[' {
			b = fmt.Appendf(nil, "[%s]", b)
		}
		var answers []struct {
			N, Status int
		}
		if err := json.Unmarshal(b, &answers); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		for _, a := range answers {
			if n++; a.N != n || a.Status != 202 {
				t.Fatalf("answer %d is %+v", n, a)
			}
			if n == 1000 {
				s.Cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}
	<-sent
	if status := s.End(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
	r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT count(*) FROM outbox")
	if want := fmt.Sprintf("count(*)\n%d\n", n); r.Out != want || n < 1000 {
		t.Errorf("%d answers; in the file: %+v", n, r)
	}
}
