package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"inturn/functions"
	"inturn/functions/hook"
	"inturn/schedules"
)

const signing = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"

var variables = map[string]string{"GREET_SECRET": signing + "\n" + signing, "GITHUB_SECRET": "s", "EMPTY": "  ", "MANY": "1\n2\n3\n4\n5", "BLANKS": " a secret with blanks \n", "SHORT": "whsec_c2hvcnQ="}

func env(name string) (string, bool) {
	v, ok := variables[name]
	return v, ok
}

// load writes text to a file and loads it.
func loadText(t testing.TB, text string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inturn.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, env)
}

const whole = `
functions:
  - type: greet
    url: https://example.com/greet
    secret_env: GREET_SECRET
    max_concurrent: 32
    timeout: 10s
    policy: {attempts: 5, initial_backoff: 2s, max_backoff: 1m, multiplier: 1.5, jitter: 0, exhausted: dead}
    rate: 100/s
  - {type: other, url: "http://localhost:9000/"}
schedules:
  - name: nightly
    cron: "0 3 * * *"
    timezone: Europe/Berlin
    client_id: reports
    type: report
    payload:
      kind: daily     # a comment
      "a b": [1, 2.50, -1e3, true, null, "x\ty<", ~]
      big: 12345678901234567890123
      text: |
        two
        lines
    missed: all
hooks:
  - path: /hooks/github/{client_id}
    verify: github
    secret_env: GITHUB_SECRET
    type: github
    message_id: header X-GitHub-Delivery
`

func TestLoad(t *testing.T) {
	c, err := loadText(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	want := []Function{
		{Type: "greet", URL: "https://example.com/greet", Secrets: []string{signing, signing}, MaxConcurrent: 32, Timeout: 10 * time.Second, Rate: Rate{100, time.Second},
			Policy: functions.Policy{Attempts: 5, InitialBackoff: 2 * time.Second, MaxBackoff: time.Minute, Multiplier: 1.5, Jitter: -1, Exhausted: functions.ThenDead}},
		{Type: "other", URL: "http://localhost:9000/"},
	}
	if !reflect.DeepEqual(c.Functions, want) {
		t.Errorf("functions\n%+v, want\n%+v", c.Functions, want)
	}
	if len(c.Schedules) != 1 {
		t.Fatalf("%d schedules", len(c.Schedules))
	}
	s := c.Schedules[0]
	const payload = `{"kind":"daily","a b":[1,2.50,-1e3,true,null,"x\ty<",null],"big":12345678901234567890123,"text":"two\nlines\n"}`
	if s.Name != "nightly" || s.ClientID != "reports" || s.Type != "report" || s.Missed != schedules.All || string(s.Payload) != payload {
		t.Errorf("%+v %s", s, s.Payload)
	}
	if tick := s.Times.Next(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)); !tick.Equal(time.Date(2026, 7, 1, 1, 0, 0, 0, time.UTC)) {
		t.Errorf("it ticks at %v", tick)
	}
	if want := []hook.Options{{Path: "/hooks/github/{client_id}", Verify: "github", Secrets: []string{"s"}, Type: "github", MessageID: "header X-GitHub-Delivery"}}; !reflect.DeepEqual(c.Hooks, want) {
		t.Errorf("%+v", c.Hooks)
	}
	if want := []string{"GREET_SECRET", "GITHUB_SECRET"}; !slices.Equal(c.Variables, want) {
		t.Errorf("variables %q", c.Variables)
	}
	if got := c.At("functions[1].url", "is wrong").Error(); !strings.HasSuffix(got, "inturn.yaml:10:19: functions[1].url: is wrong") {
		t.Error(got)
	}
	for _, text := range []string{"", "# nothing\n", "functions:\nhooks: []\n", "---\n{}\n"} {
		if c, err := loadText(t, text); err != nil || len(c.Functions)+len(c.Schedules)+len(c.Hooks) != 0 {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	if r := (Rate{90, time.Minute}).PerSecond(); r != 1.5 {
		t.Errorf("90/m is %v a second", r)
	}
}

const (
	someFunction = "functions:\n  - type: t\n    url: https://e.com\n    "
	someSchedule = "schedules:\n  - name: n\n    client_id: c\n    type: t\n    "
	someHook     = "hooks:\n  - path: /h/{client_id}\n    type: t\n    "
)

// Each mistake is named by its place, its field and what to do.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"functions: [", ":1:1"}, // what is said is the library's
		{"a: b: c", ":1:"},
		{"\tfunctions:", ":1:"},
		{"functions: 1", ":1:12: functions: must be a list"},
		{"- x", ":1:1: must be an object with functions, schedules, hooks"},
		{"text", ":1:1: must be an object"},
		{"function: []", ":1:1: function: is not known: there are functions, schedules, hooks"},
		{"functions:\n  - type: t\n    uri: x", ":3:5: functions[0].uri: is not known: there are type, url, secret_env"},
		{"functions:\n  - type: t\n    url: https://e.com\n    policy:\n      atempts: 3", ":5:7: functions[0].policy.atempts: is not known: there are attempts"},
		{"functions:\n  - type: t\n    type: u\n    url: x", ":3:5"},
		{"functions:\n  - x", ":2:5: functions[0]: must be an object with type"},
		{"functions:\n  - type: t", ":2:5: functions[0].url: is missing"},
		{"functions:\n  - type: {}\n    url: x", ":2:11: functions[0].type: must be a text"},
		{"functions:\n  - type: 7\n    url: x", ":2:11: functions[0].type: must be a text: put it in quotes"},
		{"functions:\n  - type: on\n    url: https://e.com\n  - type: on\n    url: https://e.com", `:4:5: functions[1].type: is given twice: "on"`},
		{"functions:\n  - type: \"a\\nb\"\n    url: x", "functions[0].type: the type must not contain control"},
		{someFunction + "max_concurrent: 0", ":4:5: functions[0].max_concurrent: must be 1 to"},
		{someFunction + "max_concurrent: many", "functions[0].max_concurrent: must be a whole number"},
		{someFunction + "max_concurrent: 1.5", "functions[0].max_concurrent: must be a whole number"},
		{someFunction + "timeout: 30", "functions[0].timeout: must be a text"},
		{someFunction + "timeout: \"30\"", "functions[0].timeout: must be a number and its unit"},
		{someFunction + "timeout: -1s", "functions[0].timeout: must be a number and its unit"},
		{someFunction + "timeout: 2h", "functions[0].timeout: must be at most 1h"},
		{someFunction + "rate: 100", "functions[0].rate: must be"},
		{someFunction + "rate: 100/d", "functions[0].rate: must be 1 to 1000000 calls and /s, /m or /h"},
		{someFunction + "rate: 0/s", "functions[0].rate: must be"},
		{someFunction + "rate: 1000001/s", "functions[0].rate: must be"},
		{someFunction + "rate:", "functions[0].rate: must be a text"},
		{someFunction + "secret_env: whsec_MDEy=", "functions[0].secret_env: must be the name of a variable"},
		{someFunction + "secret_env: NONE", "functions[0].secret_env: names NONE, which is not set"},
		{someFunction + "secret_env: EMPTY", "functions[0].secret_env: has 0 secrets"},
		{someFunction + "secret_env: MANY", "functions[0].secret_env: has 5 secrets"},
		{someFunction + "secret_env: SHORT", "functions[0].secret_env: must be whsec_ and 24"},
		{someFunction + "secret_file: none", "functions[0].secret_file: can't be read"},
		{someFunction + "secret_env: GREET_SECRET\n    secret_file: none", ":5:5: functions[0].secret_file: stands beside secret_env"},
		{someFunction + "policy: {attempts: 0}", ":4:14: functions[0].policy.attempts: must be at least 1"},
		{someFunction + "policy: {multiplier: 0.5}", "functions[0].policy.multiplier: must be at least 1"},
		{someFunction + "policy: {multiplier: .inf}", "functions[0].policy.multiplier: must be a number"},
		{someFunction + "policy: {jitter: 2}", "functions[0].policy.jitter: must be 0 to 1"},
		{someFunction + "policy: {exhausted: retry}", "functions[0].policy.exhausted: must be park or dead"},
		{someFunction + "policy: {initial_backoff: 10m, max_backoff: 1m}", "functions[0].policy: MaxBackoff"},
		{someSchedule + "cron: 0 3 * *\n    payload: {}", ":5:5: schedules[0].cron: has 4 fields"},
		{someSchedule + "cron: 0 25 * * *\n    payload: {}", "schedules[0].cron: end of range"},
		{someSchedule + "cron: \"@every 10\"\n    payload: {}", "schedules[0].cron: @every must"},
		{someSchedule + "cron: \"@daily\"\n    timezone: Berlin\n    payload: {}", ":6:5: schedules[0].timezone: is not known"},
		{someSchedule + "cron: \"@daily\"", ":2:5: schedules[0].payload: is missing"},
		{someSchedule + "cron: \"@daily\"\n    payload: {x: .nan}", "schedules[0].payload.x: must be what JSON has"},
		{someSchedule + "cron: \"@daily\"\n    payload: {x: 0x10}", "schedules[0].payload.x: must be a number as JSON has it"},
		{someSchedule + "cron: \"@daily\"\n    payload: {x: &a 1, y: *a}", "schedules[0].payload.x: must not have an anchor"},
		{someSchedule + "cron: \"@daily\"\n    payload: !!binary aGk=", "schedules[0].payload: must not have a tag"},
		{someSchedule + "cron: \"@daily\"\n    payload: {<<: {a: 1}}", "schedules[0].payload: must not have a merge"},
		{someSchedule + "cron: \"@daily\"\n    payload: {}\n    missed: some", "schedules[0].missed: must be none, last or all"},
		{someSchedule + "cron: \"@daily\"\n    payload: {}\n  - name: n\n    client_id: c\n    type: t\n    cron: \"@daily\"\n    payload: {}", `schedules[1].name: is given twice: "n"`},
		{"schedules:\n  - name: a@b\n    client_id: c\n    type: t\n    cron: \"@daily\"\n    payload: {}", `:2:5: schedules[0].name: must not contain "@"`},
		{"schedules:\n  - name: a\n    cron: \"@daily\"\n    payload: {}", "schedules[0].client_id: is missing"},
		{someHook + "verify: github", ":2:5: hooks[0]: needs secret_env or secret_file"},
		{someHook + "verify: git\n    secret_env: GITHUB_SECRET", ":4:5: hooks[0].verify: must be one of github, hmac-sha256"},
		{someHook + "verify: github\n    secret_env: GITHUB_SECRET\n    header: X", "hooks[0].header: is for hmac-sha256 alone"},
		{someHook + "verify: hmac-sha256\n    secret_env: GITHUB_SECRET\n    header: X", "hooks[0].message_id: must be"},
		{someHook + "verify: standard-webhooks\n    secret_env: GITHUB_SECRET", ":5:5: hooks[0].secret_env: must be whsec_"},
		{"hooks:\n  - path: /v1/{client_id}\n    type: t\n    verify: github\n    secret_env: GITHUB_SECRET", ":2:5: hooks[0].path: must be like /hooks/github/{client_id}"},
		{"a: &x 1", "is not known"},
		{"--- {}\n--- {}", "must be one document"},
		{strings.Repeat("[", 100), "lists and objects in each other"},
		{strings.Repeat("- ", MaxFile/2), "lists and objects in each other"},
		{strings.Repeat("#", MaxFile+1), "larger than"},
		{"functions:\n" + strings.Repeat("- {}\n", MaxEntries+1), "functions: must have at most 1000 entries"},
		{someSchedule + "cron: \"@daily\"\n    payload: \"" + strings.Repeat("x", MaxPayload) + "\"", "schedules[0].payload: must have at most"},
	} {
		got, err := loadText(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200q: %+v\n got %.300v\nwant %s", c.text, got, err, c.want)
			continue
		}
		for _, secret := range variables {
			if len(secret) > 5 && strings.Contains(err.Error(), secret) {
				t.Errorf("%.200q: a secret is shown: %v", c.text, err)
			}
		}
	}
}

// All problems are said at once, in the order of the file.
func TestAllProblems(t *testing.T) {
	_, err := loadText(t, "hooks:\n  - path: x\nfunctions:\n  - typ: t\n  - type: u\n    url: https://e.com\n    rate: [1]\n")
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) != 2 || e.Problems[0].Line != 4 || e.Problems[1].Line != 7 {
		t.Errorf("%v", err)
	}
	_, err = loadText(t, "functions:\n"+strings.Repeat("  - type: t\n    url: https://e.com\n", 100))
	if e, ok := errors.AsType[*Error](err); !ok || len(e.Problems) != 99 || !strings.HasSuffix(err.Error(), "\nand 79 more") {
		t.Errorf("%v", err)
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"secrets": "one\r\ntwo\n", "huge": strings.Repeat("x", maxSecretFile+1),
		"inturn.yaml": someHook + "verify: github\n    secret_file: secrets", "huge.yaml": someHook + "verify: github\n    secret_file: huge"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "inturn.yaml"), env)
	if err != nil || fmt.Sprint(c.Hooks[0].Secrets) != "[one two]" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := loadText(t, someHook+"verify: github\n    secret_env: BLANKS"); err != nil || len(c.Hooks[0].Secrets) != 1 || c.Hooks[0].Secrets[0] != "a secret with blanks" {
		t.Errorf("the words of a secret are secrets: %+v, %v", c, err)
	}
	if _, err := Load(filepath.Join(dir, "huge.yaml"), env); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("%v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml"), env); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(whole)
	f.Add("functions: [")
	f.Add("a: &x [*x]")
	f.Add("? - a\n: b")
	f.Add("schedules:\n  - payload: !!binary x\n")
	f.Add("%YAML 1.2\n---\nhooks: {}\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		c, err := parse("f.yaml", text, &reader{env: env, sources: map[string]string{}})
		if took := time.Since(begin); took > time.Second && len(text) < 10_000 {
			t.Fatalf("%v for %d bytes", took, len(text))
		}
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Problems) == 0 {
				t.Fatalf("%v", err)
			}
			for _, p := range e.Problems {
				if p.Line < 1 || p.Column < 1 || p.Detail == "" || len(p.Detail) > 10_000 {
					t.Fatalf("%+v", p)
				}
			}
			return
		}
		for _, s := range c.Schedules {
			if !s.Times.Next(time.Unix(0, 0)).After(time.Unix(0, 0)) || s.ClientID == "" || len(s.Payload) == 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}
