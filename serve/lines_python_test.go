package serve

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// liner sends events as NDJSON with Python's own HTTP client, which reads nothing before it
// has sent everything, and prints how many answers of each kind there were.
const liner = `
import http.client, json, ssl, sys

port, ca, events, query = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
c = http.client.HTTPSConnection("localhost", port, timeout=120, context=ssl.create_default_context(cafile=ca))
def lines():
    for first in range(0, events, 20):
        yield b"".join(b'{"client_id":"c%d","message_id":"m%d","type":"work","payload":{"ms":0}}\n' % (i % 100, i) for i in range(first, min(first + 20, events)))
c.request("POST", "/v1/events" + query, lines(), {"Content-Type": "application/x-ndjson"}, encode_chunked=True)
r = c.getresponse()
said, n, last = {}, 0, None
for line in r:
    last = json.loads(line)
    if "n" in last:
        n += 1
        assert query or last["n"] == n, (n, line)
        key = "%d %s" % (last["status"], last.get("duplicate"))
        said[key] = said.get(key, 0) + 1
print(r.status, said, {k: v for k, v in last.items() if "summary" in last and k in ("lines", "accepted", "duplicates", "refused")})
`

// Python's HTTP client sends more lines than the kernel holds answers of, and gets them all.
func TestLinesOfPythons(t *testing.T) {
	t.Parallel()
	program.NeedTool(t, "python3")
	s := program.Serve(t, t.TempDir(), nil)
	file := filepath.Join(t.TempDir(), "liner.py")
	if err := os.WriteFile(file, []byte(liner), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ query, events, want string }{
		{"", "120000", "200 {'202 False': 120000} {}\n"},
		{"?answers=refused", "20000", "200 {} {'lines': 20000, 'accepted': 0, 'duplicates': 20000, 'refused': 0}\n"}, // an answer only
	} {
		cmd := exec.CommandContext(t.Context(), "python3", file, program.Port(s.Listen), s.CA, c.events, c.query)
		cmd.Env = program.Env()
		if got := program.RunCommand(t, cmd); got.Status != 0 || got.Out != c.want {
			t.Fatalf("%s: %+v, want %s", c.query, got, c.want)
		}
	}
}

// A client that ends its half of the connection behind its request gets the answer: a single
// event, a batch, and lines.
func TestHalfClosedRequests(t *testing.T) {
	t.Parallel()
	s := program.Serve(t, t.TempDir(), nil)
	event := func(id string) string {
		return fmt.Sprintf(`{"client_id":"a","message_id":%q,"type":"work","payload":{"ms":0}}`, id)
	}
	for name, c := range map[string]struct{ contentType, body, want string }{
		"one":   {"application/json", event("1"), `"message_id":"1"`},
		"batch": {"application/json", "[" + event("2") + "," + event("3") + "]", `"accepted":2`},
		"lines": {"application/x-ndjson", event("4") + "\n" + event("5") + "\n", `"message_id":"5"`},
	} {
		conn, err := tls.Dial("tcp", s.Listen, &tls.Config{RootCAs: s.Roots(t), ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", c.contentType, len(c.body), c.body)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		w, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(w.Body)
		if err != nil || w.StatusCode >= 300 || !strings.Contains(string(body), c.want) || strings.Contains(string(body), "problem") {
			t.Errorf("%s: %v %d %s", name, err, w.StatusCode, body)
		}
	}
}
