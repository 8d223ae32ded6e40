package docs

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"inturn/internal/program"
)

// endpointBlock is the endpoint of webhooks.md.
var endpointBlock = regexp.MustCompile("(?m)^```python\n(# endpoint\\.py\n(?s:.*?))^```$")

// endpointSection is the page about it.
func endpointSection(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// endpointLines are what is typed to run it.
func endpointLines(t *testing.T) []string {
	t.Helper()
	_, block, _ := strings.Cut(endpointSection(t), "\n```sh\n")
	block, _, _ = strings.Cut(block, "\n```")
	return strings.Split(block, "\n")
}

// The page's endpoint, run as it says, on another port.
func TestTheEndpoint(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"python3", "openssl", "curl"} {
		program.NeedTool(t, tool)
	}
	section, lines := endpointSection(t), endpointLines(t)
	code := endpointBlock.FindStringSubmatch(section)
	if len(lines) != 3 || code == nil {
		t.Fatalf("webhooks.md has other blocks: %q", lines)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	l.Close()
	there := strings.NewReplacer("8000", port)

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "endpoint.py"), []byte(there.Replace(code[1])), 0o600); err != nil {
		t.Fatal(err)
	}
	// The shell tells the secret, then becomes the endpoint.
	endpoint := exec.Command("sh", "-c", lines[0]+`; echo "$INTURN_FUNCTION_SECRET"; exec `+strings.TrimSuffix(lines[1], " &"))
	endpoint.Dir, endpoint.Env, endpoint.Stderr = dir, program.Env(), t.Output()
	out, err := endpoint.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := endpoint.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Process.Kill(); endpoint.Wait() })
	secret, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	args, ok := strings.CutPrefix(there.Replace(lines[2]), "inturn serve ")
	if !ok {
		t.Fatalf("webhooks.md starts no server: %s", lines[2])
	}
	s := program.Serve(t, dir, []string{"INTURN_FUNCTION_SECRET=" + strings.TrimSpace(secret)}, strings.Fields(args)...)
	said := regexp.MustCompile("`\"type\":\"greet\"` and `(\"payload\":.*?)` has the result `(.*?)`").FindStringSubmatch(section)
	if said == nil {
		t.Fatal("webhooks.md doesn't say what comes of it")
	}
	// Where the endpoint isn't there yet, it is tried again.
	a := s.Post(t, `{"client_id":"anna","message_id":"1","type":"greet",`+said[1]+`}`, "-H", "Prefer: wait=60")
	if a.Status != 200 || !strings.Contains(a.Body, `"state":"done"`) || !strings.Contains(a.Body, `"result":`+said[2]) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := s.Post(t, `{"client_id":"anna","message_id":"2","type":"greet","payload":{}}`, "-H", "Prefer: wait=60"); !strings.Contains(a.Body, `"state":"dead"`) ||
		!strings.Contains(a.Body, `"error":"the endpoint answered 400: {\"error\": \"there is no name\"}"`) {
		t.Errorf("without a name: %d %s", a.Status, a.Body)
	}
	// Who doesn't know the secret is told so.
	forged := program.Curl(t, "http://127.0.0.1:"+port, "-H", "webhook-id: x", "-H", "webhook-timestamp: 1", "-H", "webhook-signature: v1,AAAA", "-d", `{"data":{"name":"Anna"}}`)
	if forged.Status != 401 {
		t.Errorf("forged: %d %s", forged.Status, forged.Body)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
}
