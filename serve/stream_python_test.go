package serve

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"inturn/internal/program"
)

// streamer sends events over wss:// with the local CA, as fast as it can, reads
// answers meanwhile, and prints how many of each there were. It is the Python
// project's implementation of WebSocket, which shares no code with ours.
const streamer = `
import asyncio, json, ssl, sys, websockets

url, ca, events = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    async with websockets.connect(url, ssl=ssl.create_default_context(cafile=ca)) as ws:
        async def send():
            for i in range(events):
                await ws.send(json.dumps({"client_id": "c%d" % (i % 100), "message_id": "m%d" % i, "type": "work", "payload": {"ms": 0, "i": i}}) + "\n")
        sending = asyncio.ensure_future(send())
        n, said = 0, {}
        while n < events:
            answers = json.loads(await ws.recv())
            for a in answers if isinstance(answers, list) else [answers]:
                assert a["n"] == n + 1 and a["message_id"] == "m%d" % n, (n, a)
                n += 1
                key = "%d %s" % (a["status"], a.get("duplicate"))
                said[key] = said.get(key, 0) + 1
        await sending
    print(said, ws.close_code)

asyncio.run(main())
`

// python returns a Python that has the package websockets, or skips the test.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} { // the second is Debian's, which has Debian's packages
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import websockets").Run() == nil {
			return path
		}
	}
	if os.Getenv("INTURN_NEED") != "" {
		t.Fatal("python3-websockets is not installed and INTURN_NEED=all")
	}
	t.Skip("python3-websockets is not installed")
	return ""
}

// Another implementation of WebSocket streams 10,000 events over TLS and gets 10,000
// answers; then all of it again, as after a reconnect.
func TestAStreamOfPythons(t *testing.T) {
	t.Parallel()
	path := python(t)
	s := program.Serve(t, t.TempDir(), nil)
	file := filepath.Join(t.TempDir(), "streamer.py")
	if err := os.WriteFile(file, []byte(streamer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(s.Listen, ":")
	for _, want := range []string{"{'202 False': 10000} 1000\n", ""} {
		cmd := exec.CommandContext(t.Context(), path, file, "wss://localhost:"+port+"/v1/stream", s.CA, "10000")
		cmd.Env = program.Env()
		got := program.RunCommand(t, cmd)
		if got.Status != 0 || want != "" && got.Out != want || strings.Contains(got.Out, "False") != (want != "") {
			t.Fatalf("%+v", got)
		}
	}
	r := program.Run(t, s.Dir, nil, "query", "--csv", "SELECT count(*), count(DISTINCT client_id) FROM outbox")
	if _, rows, _ := strings.Cut(r.Out, "\n"); rows != "10000,100\n" {
		t.Errorf("in the file: %+v", r)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	wantCheck(t, s.Dir)
}
