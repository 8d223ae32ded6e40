package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// endpointBlock is the README's endpoint.
var endpointBlock = regexp.MustCompile("(?m)^```python\n(# endpoint\\.py\n(?s:.*?))^```$")

// endpointSection is the README's section about it.
func endpointSection(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## A function in any language\n")
	if !ok {
		t.Fatal("README.md has no section \"A function in any language\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// endpointLines are what is typed to run it.
func endpointLines(t *testing.T) []string {
	t.Helper()
	_, block, _ := strings.Cut(endpointSection(t), "\n```sh\n")
	block, _, _ = strings.Cut(block, "\n```")
	return strings.Split(block, "\n")
}

// The README's endpoint, run as it says, on another port.
func TestTheEndpointOfTheREADME(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"python3", "openssl", "curl"} {
		needTool(t, tool)
	}
	section, lines := endpointSection(t), endpointLines(t)
	code := endpointBlock.FindStringSubmatch(section)
	if len(lines) != 3 || code == nil {
		t.Fatalf("the README's section has other blocks: %q", lines)
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
	endpoint.Dir, endpoint.Env, endpoint.Stderr = dir, cleanEnv(), t.Output()
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
	args, ok := strings.CutPrefix(there.Replace(lines[2]), "go run . serve ")
	if !ok {
		t.Fatalf("the README starts no server: %s", lines[2])
	}
	s := startServer(t, dir, []string{"INTURN_FUNCTION_SECRET=" + strings.TrimSpace(secret)}, strings.Fields(args)...)
	said := regexp.MustCompile("`\"type\":\"greet\"` and `(\"payload\":.*?)` has the result `(.*?)`").FindStringSubmatch(section)
	if said == nil {
		t.Fatal("the README doesn't say what comes of it")
	}
	// Where the endpoint isn't there yet, it is tried again.
	a := s.post(t, `{"client_id":"anna","message_id":"1","type":"greet",`+said[1]+`}`, "-H", "Prefer: wait=60")
	if a.status != 200 || !strings.Contains(a.body, `"state":"done"`) || !strings.Contains(a.body, `"result":`+said[2]) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.post(t, `{"client_id":"anna","message_id":"2","type":"greet","payload":{}}`, "-H", "Prefer: wait=60"); !strings.Contains(a.body, `"state":"dead"`) {
		t.Errorf("without a name: %d %s", a.status, a.body)
	}
	// Who doesn't know the secret is told so.
	forged := curl(t, "http://127.0.0.1:"+port, "-H", "webhook-id: x", "-H", "webhook-timestamp: 1", "-H", "webhook-signature: v1,AAAA", "-d", `{"data":{"name":"Anna"}}`)
	if forged.status != 401 {
		t.Errorf("forged: %d %s", forged.status, forged.body)
	}
	if status := s.stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
}

func TestServeSaysWhatIsWrongWithAFunction(t *testing.T) {
	t.Parallel()
	const usage = "see `inturn serve --help`"
	const key = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []refused{
		{name: "no URL", args: []string{"serve", "--function", "order"}, status: 2, says: `serve: --function: function 1: must be TYPE=URL.+`, hint: usage},
		{name: "a password", args: []string{"serve", "--function", "order=https://me:hidden@x.example/"}, status: 2, says: `serve: --function: function "order": its URL must not have a user or password.+`, hint: usage},
		{name: "plain http", args: []string{"serve", "--function", "order=http://x.example/?key=hidden"}, status: 2, says: `serve: --function: function "order": plain http:// [^?]+--insecure-functions`, hint: usage},
		{name: "a private address", args: []string{"serve", "--function", "order=https://10.0.0.1/"}, status: 2, says: `serve: --function: function "order": the address 10\.0\.0\.1 is private.+--insecure-functions.+`, hint: usage},
		{name: "from the environment", env: []string{"INTURN_FUNCTION=order=https://x.example order=https://y.example"}, args: []string{"serve"}, status: 2, says: `serve: --function: function "order": is given twice`, hint: usage},
		{name: "no time", args: []string{"serve", "--function", "order=https://x.example/", "--function-timeout", "0s"}, status: 2, says: `serve: --function-max-concurrent .+`, hint: usage},
		{name: "no secret", args: []string{"serve", "--function", "order=https://x.example/?key=hidden"}, status: 1,
			says: `serve: --function: function "order": its endpoint https://x\.example is beyond loopback, and there is no secret to sign with`, hint: `set INTURN_FUNCTION_SECRET.+`},
		{name: "a secret of another", env: []string{"INTURN_FUNCTION_SECRET_PAY=" + key}, args: []string{"serve", "--function", "order=https://x.example/"}, status: 1,
			says: `serve: INTURN_FUNCTION_SECRET_PAY: there is no --function of this type`},
		{name: "a secret that is none", env: []string{"INTURN_FUNCTION_SECRET=hidden"}, args: []string{"serve", "--function", "order=https://x.example/"}, status: 1,
			says: `serve: INTURN_FUNCTION_SECRET: secret 1 must be whsec_[^h]+`},
		{name: "a type that is built in", env: []string{"INTURN_FUNCTION_SECRET=" + key}, args: []string{"serve", "--function", "message=https://x.example/"}, status: 1,
			says: `serve: --function: the type "message" is built in: choose another name`},
	} {
		c.run(t, t.TempDir())
	}
}
