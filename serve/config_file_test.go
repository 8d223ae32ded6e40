package serve

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"inturn/config"
	"inturn/internal/program"
)

// calls is an endpoint that keeps what it is sent.
type calls struct {
	*httptest.Server
	mu    sync.Mutex
	types map[string]int
	ids   []string
}

func newCalls(t *testing.T) *calls {
	t.Helper()
	c := &calls{types: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ev struct{ Type, ID string }
		if err := json.NewDecoder(r.Body).Decode(&ev); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.types[ev.Type]++
		c.ids = append(c.ids, ev.ID)
		if r.URL.Path == "/emit" {
			w.Header().Set("Content-Type", "application/cloudevents+json")
			fmt.Fprint(w, `{"specversion":"1.0","id":"follow-up","source":"/emit","type":"added","data":{}}`)
			return
		}
		fmt.Fprintf(w, `"done by %s"`, r.URL.Path)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *calls) of(typ string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.types[typ]
}

// until waits for what must come true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(program.Patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not happen", what)
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func gitHub(secret, body, delivery string) http.Header {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return http.Header{"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "X-Github-Delivery": {delivery}, "X-Github-Event": {"push"}}
}

// A configuration file makes functions, schedules and hooks, and changes each while the
// server runs; what is wrong in it changes nothing.
func TestConfigurationFile(t *testing.T) {
	t.Parallel()
	endpoint, dir := newCalls(t), t.TempDir()
	path := filepath.Join(dir, "inturn.yaml")
	writeFile(t, filepath.Join(dir, "secret"), "one\n")
	file := func(more string) string {
		return fmt.Sprintf("functions:\n  - {type: greet, url: %q, max_concurrent: 2, policy: {attempts: 3}}\n", endpoint.URL+"/greet") + more
	}
	const hooks = "hooks:\n  - {path: '/hooks/github/{client_id}', verify: github, secret_file: secret, type: greet}\n"
	writeFile(t, path, file("schedules:\n  - {name: often, cron: '@every 1s', client_id: clock, type: greet, payload: {n: 1}}\n"+hooks))
	s := serveHere(t, shippedFunctions(), "--db", filepath.Join(dir, "data", "i.db"), "--config", path)

	// An endpoint, and a schedule.
	status, body := s.ask(t, "POST", "/v1/events", `{"client_id":"a","message_id":"1","type":"greet","payload":{}}`, http.Header{"Prefer": {"wait=20"}})
	if status != 200 || !strings.Contains(body, `"result":"done by /greet"`) {
		t.Errorf("%d %s", status, body)
	}
	until(t, "three ticks", func() bool { return endpoint.of("greet") >= 4 })
	_, body = s.ask(t, "GET", "/v1/events?client_id=clock", "", nil)
	if !regexp.MustCompile(`"message_id":"often@20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"`).MatchString(body) {
		t.Errorf("%s", body)
	}

	// A hook, whose repeats are repeats, also with another body.
	for i, body := range []string{`{"n":1}`, `{"n":1}`, `{"n":2}`} {
		status, answer := s.ask(t, "POST", "/hooks/github/octo", body, gitHub("one", body, "d1"))
		if status/100 != 2 || strings.Contains(answer, `"duplicate":true`) != (i > 0) {
			t.Errorf("%d %s", status, answer)
		}
	}
	if _, answer := s.ask(t, "GET", "/v1/events/octo/d1", "", nil); !strings.Contains(answer, `"payload":{"n":1}`) || !strings.Contains(answer, `"githubevent":"push"`) {
		t.Errorf("%s", answer)
	}
	if status, _ := s.ask(t, "POST", "/hooks/github/octo", `{}`, gitHub("two", `{}`, "d2")); status != 401 {
		t.Errorf("another secret: %d", status)
	}

	// What is wrong changes nothing.
	reloads := func(result string) string {
		t.Helper()
		resp, err := http.Get("http://" + s.Admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var page bytes.Buffer
		if _, err := page.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`inturn_config_reloads_total\{result="` + result + `"\} (\d+)`).FindStringSubmatch(page.String())
		if m == nil {
			t.Fatal("no count of reloads")
		}
		return m[1]
	}
	writeFile(t, path, file("hooks: 1\n"))
	until(t, "a bad file is said", func() bool { return reloads("failed") == "1" })
	writeFile(t, path, file("schedules:\n  - {name: s, cron: '@daily', client_id: c, type: nobody, payload: {}}\n"))
	until(t, "a type without a function is said", func() bool { return reloads("failed") == "2" })
	for _, want := range []string{"inturn.yaml:3:8: hooks: must be a list", "inturn.yaml:4:45: schedules[0].type: has no function"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, s.log)
		}
	}
	if status, _ := s.ask(t, "POST", "/hooks/github/octo", `{}`, gitHub("one", `{}`, "d3")); status != 202 {
		t.Errorf("after a bad file a hook answers %d", status)
	}

	// Another secret, another function, and no schedule any more.
	writeFile(t, filepath.Join(dir, "secret"), "two\n")
	writeFile(t, path, file(fmt.Sprintf("  - {type: added, url: %q}\n  - {type: emits, url: %q}\n", endpoint.URL+"/added", endpoint.URL+"/emit")+hooks))
	until(t, "the file is taken", func() bool { return reloads("ok") != "0" })
	if status, _ := s.ask(t, "POST", "/hooks/github/octo", `{}`, gitHub("two", `{}`, "d4")); status != 202 {
		t.Errorf("the new secret: %d", status)
	}
	if status, _ := s.ask(t, "POST", "/hooks/github/octo", `{}`, gitHub("one", `{}`, "d5")); status != 401 {
		t.Errorf("the old secret: %d", status)
	}
	status, body = s.ask(t, "POST", "/v1/events", `{"client_id":"a","message_id":"2","type":"added","payload":{}}`, http.Header{"Prefer": {"wait=20"}})
	if status != 200 || !strings.Contains(body, `"result":"done by /added"`) {
		t.Errorf("%d %s", status, body)
	}
	// An event that an endpoint emits may be of a type that was added.
	if status, body := s.ask(t, "POST", "/v1/events", `{"client_id":"a","message_id":"3","type":"emits","payload":{}}`, http.Header{"Prefer": {"wait=20"}}); status != 200 || !strings.Contains(body, `"follow-up"`) {
		t.Fatalf("%d %s", status, body)
	}
	until(t, "the emitted event runs", func() bool { return endpoint.of("added") == 2 })
	ticks := func() int {
		_, body := s.ask(t, "GET", "/v1/events?client_id=clock&limit=1000", "", nil)
		return strings.Count(body, `"message_id":"often@`)
	}
	before := ticks()
	time.Sleep(2100 * time.Millisecond) // two ticks of the clock, if there were any
	if after := ticks(); after != before {
		t.Errorf("a schedule that was taken out has made %d events", after-before)
	}
	if _, body := s.ask(t, "GET", "/v1/types", "", nil); !strings.Contains(body, `"added"`) {
		t.Errorf("%s", body)
	}
	if status, body := s.ask(t, "GET", "/v1/config.schema.json", "", nil); status != 200 || body != string(config.Schema()) {
		t.Errorf("%d %.100s", status, body)
	}
	if err := s.stop(t); err != nil {
		t.Error(err)
	}
}

// A tick that was missed while no server ran is made up, once.
func TestMissedTickIsMadeUp(t *testing.T) {
	t.Parallel()
	endpoint, dir := newCalls(t), t.TempDir()
	path := filepath.Join(dir, "inturn.yaml")
	writeFile(t, path, fmt.Sprintf("functions: [{type: greet, url: %q}]\nschedules:\n  - {name: s, cron: '@every 1s', client_id: clock, type: greet, payload: {}, missed: all}\n", endpoint.URL))
	flags := []string{"--db", filepath.Join(dir, "i.db"), "--config", path}
	first := serveHere(t, nil, flags...)
	until(t, "a tick", func() bool { return endpoint.of("greet") >= 2 })
	if err := first.stop(t); err != nil {
		t.Fatal(err)
	}
	stopped := endpoint.of("greet")
	time.Sleep(3 * time.Second) // of the clock that ticks
	second := serveHere(t, nil, flags...)
	until(t, "more ticks", func() bool { return endpoint.of("greet") >= stopped+5 })
	if err := second.stop(t); err != nil {
		t.Fatal(err)
	}
	endpoint.mu.Lock()
	defer endpoint.mu.Unlock()
	for i := 1; i < len(endpoint.ids); i++ {
		at := func(id string) time.Time {
			tick, err := time.Parse(time.RFC3339, strings.TrimPrefix(id, "s@"))
			if err != nil {
				t.Fatal(err)
			}
			return tick
		}
		if gap := at(endpoint.ids[i]).Sub(at(endpoint.ids[i-1])); gap != time.Second {
			t.Errorf("%s is followed by %s", endpoint.ids[i-1], endpoint.ids[i])
		}
	}
}

// SIGHUP reads the file again, changed or not; the terminal of a test is not its own.
func TestConfigurationBySignal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "inturn.yaml"), "hooks: [{path: '/h/{client_id}', verify: github, secret_env: INTURN_HOOK, type: work}]\n")
	s := program.Serve(t, dir, []string{"INTURN_HOOK=s", "INTURN_HOKO=s"}, "--config", "inturn.yaml")
	if log := s.Logged(); !strings.Contains(log, `"nothing reads these variables of the environment","names":["INTURN_HOKO"]`) {
		t.Errorf("a variable that the file names is not known, or a misspelt one is:\n%s", log)
	}
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Wait(t, "configuration reloaded")
	if status := s.Stop(t); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A process that ends because it is idle says when its schedules want it back.
func TestNextTickOfAProcessThatSleeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "inturn.yaml"), "schedules:\n  - {name: s, cron: '0 3 1 1 *', client_id: c, type: work, payload: {}}\n")
	s := program.Serve(t, dir, nil, "--config", "inturn.yaml", "--exit-when-idle", "100ms")
	if status := s.End(t); status != 0 {
		t.Errorf("status %d", status)
	}
	if !regexp.MustCompile(`"msg":"nothing to do; ending".*"next_tick":"20\d\d-01-01T03:00:00Z"`).MatchString(s.Logged()) {
		t.Errorf("%s", s.Logged())
	}
}

// A server does not start with a file that is wrong.
func TestConfigurationThatIsWrongAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "inturn.yaml"), "hooks: 1\n")
	for _, c := range []struct{ file, says string }{
		{"inturn.yaml", `^inturn: serve: inturn\.yaml:1:8: hooks: must be a list.*\n$`},
		{"none.yaml", `^inturn: serve: read the configuration: open none\.yaml: no such file`},
	} {
		r := program.Run(t, dir, []string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0"}, "serve", "--config", c.file)
		if r.Status != 1 || !regexp.MustCompile(c.says).MatchString(r.ErrOut) {
			t.Errorf("%s: status %d, %s", c.file, r.Status, r.ErrOut)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.yaml", "functions:\n  - {type: greet, url: 'https://example.com/', secret_env: GREET}\nschedules:\n  - {name: s, cron: '@daily', client_id: c, type: work, payload: {ms: 5}}\n")
	write("local.yaml", "functions: [{type: greet, url: 'http://localhost:1/'}]")
	write("unsigned.yaml", "functions:\n  - {type: greet, url: 'https://example.com/'}")
	write("built.yaml", "functions:\n  - {type: work, url: 'http://localhost:1/'}")
	write("http.yaml", "functions:\n  - {type: t, url: 'http://example.com/?key=hidden'}")
	write("payload.yaml", "schedules:\n  - {name: s, cron: '@daily', client_id: c, type: work, payload: {ms: no}}")
	write("client.yaml", "schedules:\n  - {name: s, cron: '@daily', client_id: '..', type: work, payload: {}}")
	write("type.yaml", "hooks:\n  - {path: '/a/{client_id}', verify: github, secret_env: GREET, type: nobody}")
	write("paths.yaml", "hooks:\n  - {path: '/a/{client_id}', verify: github, secret_env: GREET, type: work}\n  - {path: '/a/{client_id}', verify: stripe, secret_env: GREET, type: work}")
	write("two.yaml", "functions:\n  - {typ: a}\n  - {type: b}")
	env := []string{"GREET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}
	for _, c := range []struct {
		file, says string
		env        []string
		status     int
	}{
		{file: "good.yaml", env: env, says: `^good.yaml is good: 1 function, 1 schedule, 0 hooks\n$`},
		{file: "local.yaml", says: `^local.yaml is good: 1 function, 0 schedules, 0 hooks\n$`},
		{file: "good.yaml", status: 1, says: `^inturn: config check: good.yaml:2:48: functions\[0\].secret_env: names GREET, which is not set.*\n$`},
		{file: "local.yaml", status: 1, env: []string{"INTURN_FUNCTION=greet=http://localhost:2/"}, says: `functions\[0\].type: is given by --function too`},
		{file: "unsigned.yaml", env: []string{"INTURN_FUNCTION_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}, says: `is good`},
		{file: "unsigned.yaml", status: 1, says: `unsigned.yaml:2:5: functions\[0\]: needs secret_env or secret_file: its endpoint is beyond loopback`},
		{file: "built.yaml", status: 1, says: `built.yaml:2:6: functions\[0\].type: is built in: choose another name`},
		{file: "http.yaml", status: 1, says: `http.yaml:2:15: functions\[0\].url: plain http:// [^?]+\n`},
		{file: "payload.yaml", status: 1, says: `payload.yaml:2:57: schedules\[0\].payload.ms: must be a whole number`},
		{file: "client.yaml", status: 1, says: `client.yaml:2:31: schedules\[0\].client_id: must not be`},
		{file: "type.yaml", status: 1, env: env, says: `type.yaml:2:65: hooks\[0\].type: has no function: there are dialog.close, message, work`},
		{file: "paths.yaml", status: 1, env: env, says: `paths.yaml:3:6: hooks\[1\].path: takes requests that a hook above takes too`},
		{file: "two.yaml", status: 1, says: `two.yaml:2:6: functions\[0\].typ: is not known.*\n`},
		{file: "none.yaml", status: 1, says: `config check: read the configuration: open none.yaml: no such file or directory\nhint: name a file that is there with --config.*\n$`},
	} {
		r := program.Run(t, dir, c.env, "config", "check", c.file)
		out := r.Out + r.ErrOut
		if r.Status != c.status || !regexp.MustCompile(c.says).MatchString(out) {
			t.Errorf("%s: status %d, want %d\n got %s\nwant %s", c.file, r.Status, c.status, out, c.says)
		}
		if strings.Contains(out, "hidden") || strings.Contains(out, "MDEy") {
			t.Errorf("%s: it shows a secret: %s", c.file, out)
		}
	}
}
