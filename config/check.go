package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"inturn/functions"
	"inturn/functions/hook"
	"inturn/schedules"
)

// parse reads the text of the file at path. Its secrets come from r.
func parse(path, text string, r *reader) (*Config, error) {
	c := &Config{path: path, places: map[string]place{}, sources: r.sources}
	d := &decoder{path: path, places: c.places}
	var f file
	d.decode(text, &f)
	k := &checker{Config: c, reader: r, problems: d.problems}
	if len(k.problems) == 0 {
		k.file(&f)
	}
	if len(k.problems) > 0 {
		return nil, Join(&Error{k.problems})
	}
	return c, nil
}

// checker makes the values of a Config from its fields.
type checker struct {
	*Config
	reader   *reader
	problems []Problem
}

// bad notes what is wrong with a field.
func (k *checker) bad(field, format string, args ...any) {
	k.problems = append(k.problems, k.problem(field, fmt.Sprintf(format, args...)))
}

func (k *checker) file(f *file) {
	types, names := map[string]bool{}, map[string]bool{}
	for i := range f.Functions {
		at := fmt.Sprintf("functions[%d]", i)
		k.unique(types, at+".type", f.Functions[i].Type)
		k.Functions = append(k.Functions, k.function(at, &f.Functions[i]))
	}
	for i := range f.Schedules {
		at := fmt.Sprintf("schedules[%d]", i)
		k.unique(names, at+".name", f.Schedules[i].Name)
		k.Schedules = append(k.Schedules, k.schedule(at, &f.Schedules[i]))
	}
	for i := range f.Hooks {
		k.Hooks = append(k.Hooks, k.hook(fmt.Sprintf("hooks[%d]", i), &f.Hooks[i]))
	}
}

func (k *checker) unique(seen map[string]bool, field, name string) {
	if seen[name] {
		k.bad(field, "is given twice: %q must be unique", cut(name))
	}
	seen[name] = true
}

func (k *checker) function(at string, f *function) Function {
	if err := functions.CheckType(f.Type); err != nil {
		k.bad(at+".type", "%v", err)
	}
	if f.URL == "" {
		k.bad(at+".url", "is missing: write where the events are POSTed, such as https://example.com/greet")
	}
	secrets := k.secrets(at, f.SecretEnv, f.SecretFile, false)
	for _, s := range secrets {
		if !signingSecret(s) {
			k.bad(at+"."+secretField(f.SecretFile), `must be whsec_ and 24 to 64 random bytes in base64; this makes one: echo "whsec_$(openssl rand -base64 32)"`)
			break
		}
	}
	if _, given := k.places[at+".max_concurrent"]; given && (f.MaxConcurrent < 1 || f.MaxConcurrent > 100_000) {
		k.bad(at+".max_concurrent", "must be 1 to 100000")
	}
	timeout := k.duration(at+".timeout", f.Timeout)
	if timeout > MaxTimeout {
		k.bad(at+".timeout", "must be at most %v: an endpoint that takes longer answers 202 and sends an event when it is done", MaxTimeout)
	}
	return Function{
		Type: f.Type, URL: f.URL, Secrets: secrets, MaxConcurrent: f.MaxConcurrent, Timeout: timeout,
		Policy: k.policy(at+".policy", f.Policy), Rate: k.rate(at+".rate", f.Rate),
	}
}

// signingSecret follows Standard Webhooks, "Signature scheme".
func signingSecret(secret string) bool {
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	return ok && err == nil && len(key) >= 24 && len(key) <= 64
}

func (k *checker) policy(at string, p *policy) (out functions.Policy) {
	if p == nil {
		return out
	}
	before := len(k.problems)
	out.InitialBackoff = k.duration(at+".initial_backoff", p.InitialBackoff)
	out.MaxBackoff = k.duration(at+".max_backoff", p.MaxBackoff)
	if p.Attempts != nil {
		if out.Attempts = *p.Attempts; out.Attempts < 1 {
			k.bad(at+".attempts", "must be at least 1")
		}
	}
	if p.Multiplier != nil {
		if out.Multiplier = *p.Multiplier; !(out.Multiplier >= 1) {
			k.bad(at+".multiplier", "must be at least 1")
		}
	}
	if p.Jitter != nil {
		switch out.Jitter = *p.Jitter; {
		case !(out.Jitter >= 0 && out.Jitter <= 1):
			k.bad(at+".jitter", "must be 0 to 1")
		case out.Jitter == 0:
			out.Jitter = -1 // in a Policy 0 is the default
		}
	}
	switch p.Exhausted {
	case "", "park":
	case "dead":
		out.Exhausted = functions.ThenDead
	default:
		k.bad(at+".exhausted", "must be park or dead")
	}
	if err := out.Validate(); err != nil && len(k.problems) == before {
		k.bad(at, "%s", strings.TrimPrefix(err.Error(), "policy: "))
	}
	return out
}

// duration reads a duration, which is more than 0 if it is given.
func (k *checker) duration(field, text string) time.Duration {
	if _, given := k.places[field]; !given {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		k.bad(field, "must be a number and its unit, such as 500ms, 30s or 5m")
	}
	return d
}

var ratePattern = regexp.MustCompile(`^([0-9]{1,7})/([smh])$`)

func (k *checker) rate(field, text string) Rate {
	if _, given := k.places[field]; !given {
		return Rate{}
	}
	m := ratePattern.FindStringSubmatch(text)
	if m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 && n <= 1_000_000 {
			return Rate{n, map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]]}
		}
	}
	k.bad(field, "must be 1 to 1000000 calls and /s, /m or /h, such as 100/s")
	return Rate{}
}

func (k *checker) schedule(at string, s *schedule) schedules.Schedule {
	if err := schedules.CheckName(s.Name); err != nil {
		k.bad(at+".name", "%v", err)
	}
	times, err := schedules.Parse(s.Cron, s.Timezone)
	if err != nil {
		field, detail, _ := strings.Cut(err.Error(), ": ")
		k.bad(at+"."+field, "%s", detail)
	}
	for _, f := range []struct{ name, text string }{{"client_id", s.ClientID}, {"type", s.Type}} {
		if f.text == "" {
			k.bad(at+"."+f.name, "is missing or empty")
		}
	}
	switch {
	case len(s.Payload) == 0:
		k.bad(at+".payload", "is missing: write {} for an empty one")
	case len(s.Payload) > MaxPayload:
		k.bad(at+".payload", "must have at most %d bytes as JSON", MaxPayload)
	}
	missed := schedules.Missed(s.Missed)
	switch missed {
	case schedules.None, schedules.Last, schedules.All:
	case "":
		missed = schedules.Last
	default:
		k.bad(at+".missed", "must be none, last or all")
	}
	return schedules.Schedule{Name: s.Name, Times: times, Missed: missed, ClientID: s.ClientID, Type: s.Type, Payload: json.RawMessage(s.Payload)}
}

func (k *checker) hook(at string, h *webhook) hook.Options {
	before := len(k.problems)
	o := hook.Options{
		Path: h.Path, Verify: h.Verify, Secrets: k.secrets(at, h.SecretEnv, h.SecretFile, true), Type: h.Type, MessageID: h.MessageID,
		Header: h.Header, Encoding: h.Encoding, Prefix: h.Prefix,
	}
	if h.Verify != "hmac-sha256" {
		for _, f := range []struct{ name, text string }{{"header", h.Header}, {"encoding", h.Encoding}, {"prefix", h.Prefix}} {
			if f.text != "" {
				k.bad(at+"."+f.name, "is for hmac-sha256 alone: take it out")
			}
		}
	}
	if len(k.problems) > before {
		return o
	}
	if _, err := hook.New(o); err != nil {
		field, detail := "", err.Error()
		if fe, ok := errors.AsType[*functions.FieldError](err); ok {
			field, detail = strings.TrimPrefix(fe.Pointer, "/"), fe.Detail
		}
		if field == "secret" {
			field = secretField(h.SecretFile)
		}
		k.bad(join(at, field), "%s", detail)
	}
	return o
}

// secretField is the name of the field that says where the secrets are.
func secretField(file string) string {
	if file != "" {
		return "secret_file"
	}
	return "secret_env"
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secrets reads the secrets that an entry names. No problem shows one.
func (k *checker) secrets(at, env, file string, needed bool) []string {
	field := at + "." + secretField(file)
	var text string
	switch {
	case env != "" && file != "":
		k.bad(field, "stands beside secret_env: write one of the two")
		return nil
	case env == "" && file == "":
		if needed {
			k.bad(at, "needs secret_env or secret_file: the variable, or the file, that has the secret")
		}
		return nil
	case file != "":
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(k.path), file)
		}
		var err error
		if text, err = k.reader.read(file, maxSecretFile); err != nil {
			k.bad(field, "can't be read: %v", err)
			return nil
		}
	case !variable.MatchString(env):
		k.bad(field, "must be the name of a variable of the environment, not the secret itself")
		return nil
	default:
		k.Variables = append(k.Variables, env)
		var set bool
		if text, set = k.reader.env(env); !set {
			k.bad(field, "names %s, which is not set in the environment: set it", env)
			return nil
		}
	}
	// One a line: a secret that a person has chosen may have blanks in it, and its words
	// would be keys that anybody guesses.
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	if len(all) == 0 || len(all) > hook.MaxSecrets {
		k.bad(field, "has %d secrets there and must have 1 to %d, each on a line", len(all), hook.MaxSecrets)
		return nil
	}
	return all
}

const maxSecretFile = 64 << 10
