package deploy

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
	"inturn/serve"
)

// deployment is the texts of the files that say how the program is run elsewhere.
type deployment struct{ module, docker, fly, unit, compose string }

var deployFiles = []string{"go.mod", "Dockerfile", "fly.toml", "deploy/inturn.service", "compose.yaml"}

func readDeployment(t *testing.T) deployment {
	t.Helper()
	var texts []string
	for _, name := range deployFiles {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return deployment{texts[0], texts[1], texts[2], texts[3], texts[4]}
}

// afterWatchdog is what a platform must leave the process beyond its own watchdog.
const afterWatchdog = 5 * time.Second

// complaints is what in the files does not agree with the program, or with each other.
type complaints []string

func (c *complaints) say(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

func (c *complaints) want(what, got, want string) {
	if got != want {
		c.say("%s is %q, want %q", what, got, want)
	}
}

// serveAs parses what serve would be told by this environment and these arguments.
func (c *complaints) serveAs(t *testing.T, where string, env map[string]string, args []string) *serve.Config {
	t.Helper()
	for name, value := range env {
		if serve.UnknownSettings([]string{name + "=" + value}) != nil {
			c.say("%s sets %s, which no flag has", where, name)
		}
		defer func(name, before string, was bool) {
			if was {
				os.Setenv(name, before)
			} else {
				os.Unsetenv(name)
			}
		}(name, os.Getenv(name), os.Getenv(name) != "")
		os.Setenv(name, value)
	}
	config, err := serve.ParseConfig(args...)
	if err != nil {
		c.say("%s: serve refuses it: %v", where, err)
	}
	return &config
}

// kills says whether a platform that kills after so long leaves s its end.
func (c *complaints) kills(where string, after time.Duration, s *serve.Config) {
	if need := s.Drain + serve.WatchdogAfter + afterWatchdog; after < need {
		c.say("%s kills after %v; --drain %v and the watchdog need %v", where, after, s.Drain, need)
	}
}

// loopback reports whether an address is of this machine alone.
func loopback(addr string) bool {
	at, err := netip.ParseAddrPort(addr)
	return err == nil && at.Addr().IsLoopback()
}

// instruction is one of a Dockerfile.
type instruction struct{ name, rest string }

// dockerStages returns the instructions of each stage.
func dockerStages(text string) (stages [][]instruction) {
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "":
			continue
		case name == "FROM":
			stages = append(stages, nil)
		case len(stages) == 0:
			continue
		}
		last := &stages[len(stages)-1]
		*last = append(*last, instruction{name, strings.TrimSpace(rest)})
	}
	return stages
}

// one returns the rest of the only instruction of this name, or "".
func one(stage []instruction, name string) (rest string) {
	n := 0
	for _, i := range stage {
		if i.name == name {
			rest = i.rest
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return rest
}

// dockerEnv is the environment that a stage sets.
func dockerEnv(stage []instruction) map[string]string {
	env := map[string]string{}
	for _, i := range stage {
		for setting := range strings.FieldsSeq(i.rest) {
			if name, value, ok := strings.Cut(setting, "="); ok && i.name == "ENV" {
				env[name] = value
			}
		}
	}
	return env
}

// docker judges the Dockerfile and returns what the image makes of serve.
func (c *complaints) docker(t *testing.T, d deployment) (s *serve.Config, env map[string]string) {
	t.Helper()
	stages := dockerStages(d.docker)
	if len(stages) != 2 {
		c.say("the Dockerfile has %d stages", len(stages))
		return &serve.Config{}, nil
	}
	build, image := stages[0], stages[1]
	goes := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(d.module)
	c.want("the Dockerfile's first stage", one(build, "FROM"), "golang:"+goes[1]+" AS build")
	for _, flag := range []string{"CGO_ENABLED=0 ", " -trimpath ", " -X inturn/serve.version=${VERSION}", " -o /out/inturn "} {
		if !slices.ContainsFunc(build, func(i instruction) bool { return i.name == "RUN" && strings.Contains(i.rest, flag) }) {
			c.say("the Dockerfile builds without %q", flag)
		}
	}
	c.want("the image's base", one(image, "FROM"), "scratch")
	user := one(image, "USER")
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		c.say("the image's user is %q, not fixed numbers: an image without /etc/passwd knows no names", user)
	}
	var copies []string
	for _, i := range image {
		if i.name == "COPY" {
			copies = append(copies, i.rest)
		}
	}
	c.want("what the image gets", strings.Join(copies, "; "), "--from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt; "+
		"--from=build /out/inturn /inturn; --from=build --chown="+user+" /out/owned/ /")
	c.want("the image's entrypoint", one(image, "ENTRYPOINT"), `["/inturn"]`)
	c.want("the image's command", one(image, "CMD"), `["serve"]`)
	c.want("the image's stop signal", one(image, "STOPSIGNAL"), "SIGTERM")
	if health := one(image, "HEALTHCHECK"); !strings.HasSuffix(health, ` CMD ["/inturn", "health"]`) {
		c.say("the image's health check is %q", health)
	}
	env = dockerEnv(image)
	s = c.serveAs(t, "the Dockerfile", env, nil)
	c.want("the image's port", one(image, "EXPOSE"), program.Port(s.Listen))
	c.want("the image's volume", one(image, "VOLUME"), fmt.Sprintf("[%q]", path.Dir(s.DB)))
	if loopback(s.Listen) {
		c.say("the image listens on %s, where no other container reaches it", s.Listen)
	}
	if !slices.ContainsFunc(build, func(i instruction) bool { return strings.Contains(i.rest, "/out/owned"+path.Dir(s.DB)) }) {
		c.say("the image has no %s that its user owns", path.Dir(s.DB))
	}
	return s, env
}

// section is a table of a TOML file, with the tables below it that were written after it.
type section struct {
	name   string
	values map[string]string // strings without quotes, all else as it is written
}

var (
	tomlTable = regexp.MustCompile(`^\[\[?([a-z_.]+)\]\]?$`)
	tomlValue = regexp.MustCompile(`^([A-Za-z_]+) = (?:"([^"]*)"|([^"#]+?|\[.*?\]|\{.*?\}))\s*(?:#.*)?$`)
)

// tomlSections reads the part of TOML that fly.toml needs; a line that is anything
// else is an error.
func tomlSections(text string) ([]section, error) {
	all := []section{{values: map[string]string{}}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if m := tomlTable.FindStringSubmatch(line); m != nil {
			all = append(all, section{m[1], map[string]string{}})
			continue
		}
		m := tomlValue.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %q is not what this test reads", line)
		}
		all[len(all)-1].values[m[1]] = m[2] + m[3]
	}
	return all, nil
}

// flyService is what a service leads to, by its public port.
type flyService struct{ internal, handlers, stop, start string }

// fly judges fly.toml.
func (c *complaints) fly(t *testing.T, d deployment, image map[string]string) {
	t.Helper()
	sections, err := tomlSections(d.fly)
	if err != nil {
		c.say("fly.toml: %v", err)
		return
	}
	env := map[string]string{}
	maps.Copy(env, image)
	services := map[string]flyService{}
	var service, ready map[string]string
	mount := ""
	for _, s := range sections {
		v := s.values
		switch s.name {
		case "", "build", "vm", "services.tcp_checks":
		case "env":
			maps.Copy(env, v)
		case "mounts":
			if mount != "" {
				c.say("fly.toml mounts two volumes")
			}
			mount = v["destination"]
		case "services":
			service = v
		case "services.ports":
			services[v["port"]] = flyService{service["internal_port"], v["handlers"], service["auto_stop_machines"], service["auto_start_machines"]}
		case "checks.ready":
			ready = v
		case "deploy":
			if v["release_command"] != "" {
				c.say("fly.toml has a release command, which has no volume")
			}
			c.want("fly.toml's strategy: a volume is one machine's", v["strategy"], "rolling")
		default:
			c.say("fly.toml: nothing tests [%s]", s.name)
		}
	}
	s := c.serveAs(t, "fly.toml", env, nil)
	top := sections[0].values
	c.want("fly.toml's signal", top["kill_signal"], "SIGTERM")
	if after, err := time.ParseDuration(top["kill_timeout"]); err != nil || after > 5*time.Minute {
		c.say("fly.toml's kill_timeout is %q; Fly takes at most 300 s", top["kill_timeout"])
	} else {
		c.kills("fly.toml", after, s)
	}
	c.want("fly.toml's volume", mount, path.Dir(s.DB))
	c.want("fly.toml's check asks port", ready["port"], program.Port(s.Admin))
	c.want("fly.toml's check asks path", ready["path"], "/readyz")
	if loopback(s.Admin) {
		c.say("fly.toml: Fly's checks don't reach --admin %s", s.Admin)
	}
	wanted, handlers := map[string]string{"443": s.Listen}, ""
	if s.TLS != "acme" || len(s.Domain) == 0 {
		c.say("fly.toml: raw TCP needs a certificate for a domain, it has --tls %s for %q", s.TLS, s.Domain)
	}
	if s.HTTPListen != "" {
		wanted["80"] = s.HTTPListen
	}
	if s.ProxyProtocol {
		handlers = `["proxy_proto"]`
	}
	for public, address := range wanted {
		c.want("fly.toml's port "+public+" leads to", services[public].internal, program.Port(address))
		c.want("fly.toml's port "+public+" has the handlers", services[public].handlers, handlers)
	}
	if len(services) != len(wanted) {
		c.say("fly.toml has %d public ports, want %d", len(services), len(wanted))
	}
	for public, to := range services {
		c.want("fly.toml's port "+public+": the proxy sees no backlog, so auto_stop_machines", to.stop, "off")
		c.want("fly.toml's port "+public+": a process that sleeps must be woken, so auto_start_machines", to.start, "true")
	}
}

// unit judges the unit of systemd.
func (c *complaints) unit(t *testing.T, d deployment) {
	t.Helper()
	values := map[string]string{}
	env := map[string]string{}
	for line := range strings.Lines(d.unit) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		values[name] = value
		if name == "Environment" {
			setting, value, _ := strings.Cut(value, "=")
			env[setting] = value
		}
	}
	words := strings.Fields(values["ExecStart"])
	if len(words) < 2 || words[1] != "serve" || !strings.HasPrefix(words[0], "/") || path.Base(words[0]) != "inturn" {
		c.say("the unit starts %q", values["ExecStart"])
		return
	}
	s := c.serveAs(t, "the unit", env, words[2:])
	seconds, err := strconv.Atoi(values["TimeoutStopSec"])
	if err != nil {
		c.say("the unit's TimeoutStopSec is %q, want seconds", values["TimeoutStopSec"])
	}
	c.kills("the unit", time.Duration(seconds)*time.Second, s)
	c.want("the unit's signal", values["KillSignal"], "SIGTERM")
	c.want("the unit restarts", values["Restart"], "always")
	c.want("the unit gives up after", values["StartLimitIntervalSec"], "0")
	c.want("the unit reloads by", values["ExecReload"], "/bin/kill -HUP $MAINPID")
	c.want("the unit's folder", "/var/lib/"+values["StateDirectory"], path.Dir(s.DB))
	if values["DynamicUser"] != "yes" || values["ProtectSystem"] != "strict" || values["NoNewPrivileges"] != "yes" || values["CapabilityBoundingSet"] != "" {
		c.say("the unit has lost its hardening")
	}
	if path.Base(values["EnvironmentFile"]) == values["EnvironmentFile"] {
		c.say("the unit reads no file with the token")
	}
}

var (
	composeService = regexp.MustCompile(`(?ms)^  inturn:\n(.*?)^  [a-z]`)
	composeSetting = regexp.MustCompile(`(?m)^      (INTURN_[A-Z_]+): (\S+)`)
)

// compose judges the service of compose.yaml that is the server.
func (c *complaints) compose(t *testing.T, d deployment, image map[string]string) {
	t.Helper()
	m := composeService.FindStringSubmatch(d.compose)
	if m == nil {
		c.say("compose.yaml has no service inturn")
		return
	}
	service, env := m[1], maps.Clone(image)
	for _, setting := range composeSetting.FindAllStringSubmatch(service, -1) {
		env[setting[1]] = setting[2]
	}
	s := c.serveAs(t, "compose.yaml", env, nil)
	value := func(pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(service); m != nil {
			return m[1]
		}
		return ""
	}
	if grace, err := time.ParseDuration(value(`(?m)^    stop_grace_period: (\S+)`)); err != nil {
		c.say("compose.yaml's stop_grace_period: %v", err)
	} else {
		c.kills("compose.yaml", grace, s)
	}
	c.want("compose.yaml's port leads to", value(`ports: \["[^"]*:(\d+)"\]`), program.Port(s.Listen))
	c.want("compose.yaml's volume", value(`volumes: \["[^":]*:([^":]*)"\]`), path.Dir(s.DB))
	if loopback(s.Admin) {
		c.say("compose.yaml: Prometheus doesn't reach --admin %s", s.Admin)
	}
}

func (d deployment) complaints(t *testing.T) (c complaints) {
	t.Helper()
	_, env := c.docker(t, d)
	c.fly(t, d, env)
	c.unit(t, d)
	c.compose(t, d, env)
	return c
}

// The files that say how the program is run elsewhere agree with its flags, ports
// and times.
func TestDeployment(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "secret")
	d := readDeployment(t)
	for _, complaint := range d.complaints(t) {
		t.Error(complaint)
	}
	if t.Failed() {
		return
	}
	// Whatever is changed in them is found.
	for _, change := range deployChanges {
		broken := d
		for _, text := range []*string{&broken.module, &broken.docker, &broken.fly, &broken.unit, &broken.compose} {
			*text = strings.Replace(*text, change[0], change[1], 1)
		}
		if broken == d {
			t.Errorf("no file has %q: this test proves less than it should", change[0])
		} else if len(broken.complaints(t)) == 0 {
			t.Errorf("nobody complains about %q in place of %q", change[1], change[0])
		}
	}
}

// deployChanges are texts of the files and what must not stand in their place; the
// first file that has the text is changed.
var deployChanges = [][2]string{
	{"FROM golang:1.", "FROM golang:0."},
	{"FROM scratch", "FROM debian:bookworm"},
	{"USER 65532:65532", "USER root"},
	{"--chown=65532:65532", "--chown=1000:1000"},
	{"INTURN_LISTEN=0.0.0.0:8443", "INTURN_LISTEN=127.0.0.1:8443"},
	{"INTURN_LISTEN=0.0.0.0:8443", "INTURN_LISTEN=0.0.0.0:8444"},
	{"INTURN_LISTEN=0.0.0.0:8443", "INTURN_LISTENS=0.0.0.0:8443"},
	{"INTURN_DB=/data/inturn.db", "INTURN_DB=/inturn.db"},
	{"EXPOSE 8443", "EXPOSE 443"},
	{`VOLUME ["/data"]`, `VOLUME ["/var/data"]`},
	{"STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"},
	{`"/inturn", "health"`, `"/inturn", "healthy"`},
	{`CMD ["serve"]`, `CMD ["demo"]`},
	{" -trimpath", ""},
	{"serve.version=", "serve.release="},

	{`kill_signal = "SIGTERM"`, `kill_signal = "SIGINT"`},
	{`kill_timeout = "60s"`, `kill_timeout = "50s"`},
	{`kill_timeout = "60s"`, `kill_timeout = "301s"`},
	{`[env]`, "[env]\nINTURN_DRAIN = \"36s\""},
	{`[env]`, "[env]\nINTURN_DRAINS = \"30s\""},
	{`[env]`, "[env]\nINTURN_SLICE = \"many\""},
	{`destination = "/data"`, `destination = "/mnt"`},
	{"internal_port = 8443", "internal_port = 8080"},
	{`auto_stop_machines = "off"`, `auto_stop_machines = "stop"`},
	{`auto_start_machines = true`, `auto_start_machines = false`},
	{"port = 443", "port = 444"},
	{"internal_port = 8080", "internal_port = 8081"},
	{"port = 80\n", "port = 81\n"},
	{`INTURN_TLS = "acme"`, `INTURN_TLS = "off"`},
	{"INTURN_PROXY_PROTOCOL", "INTURN_PROXY_PROTOCOLS"},
	{`INTURN_PROXY_PROTOCOL = "true"`, `INTURN_PROXY_PROTOCOL = "false"`},
	{"INTURN_TRUSTED_PROXY", "# "},
	{`handlers = ["proxy_proto"]`, `handlers = ["tls", "http"]`},
	{"[deploy]\n", "[deploy]\nrelease_command = \"/inturn check\"\n"},
	{`strategy = "rolling"`, `strategy = "bluegreen"`},
	{"\nport = 9091", "\nport = 9090"},
	{`path = "/readyz"`, `path = "/ready"`},
	{`INTURN_ADMIN = "`, `INTURN_ADMIN = "127.0.0.1:9091" # `},

	{"TimeoutStopSec=60", "TimeoutStopSec=50"},
	{"TimeoutStopSec=60", "TimeoutStopSec=1min"},
	{"KillSignal=SIGTERM", "KillSignal=SIGKILL"},
	{"Restart=always", "Restart=on-failure"},
	{"StartLimitIntervalSec=0\n", ""},
	{"kill -HUP", "kill -USR1"},
	{"StateDirectory=inturn", "StateDirectory=other"},
	{"inturn serve --db", "inturn serve --file"},
	{"DynamicUser=yes", "User=root"},
	{"Environment=INTURN_LISTEN", "Environment=INTURN_LISTENS"},

	{"stop_grace_period: 60s", "stop_grace_period: 50s"},
	{"INTURN_DRAIN: 30s", "INTURN_DRAIN: 40s"},
	{"INTURN_DRAIN: 30s", "INTURN_DRAINS: 30s"},
	{`"127.0.0.1:8443:8443"`, `"127.0.0.1:8443:8080"`},
	{`volumes: ["data:/data"]`, `volumes: ["data:/var/data"]`},
	{"INTURN_ADMIN: 0.0.0.0", "INTURN_ADMIN: 127.0.0.1"},
}

// The unit is one that systemd reads without a complaint, and judges to be hardened.
func TestTheUnitIsSystemds(t *testing.T) {
	program.NeedTool(t, "systemd-analyze")
	unit := filepath.Join(t.TempDir(), "inturn.service")
	text := strings.Replace(readDeployment(t).unit, "/usr/local/bin/inturn", "/bin/true", 1) // it wants to find the program
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", unit}, {"security", "--offline=true", "--threshold=20", "--no-pager", unit}} {
		if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// A release, programs and their bills of materials, is the same bytes whoever makes it, and
// says its version.
func TestRelease(t *testing.T) {
	if os.Getenv("INTURN_LONG") == "" {
		t.Skip("it compiles four programs twice: set INTURN_LONG=1")
	}
	program.NeedTool(t, "make")
	var sums []string
	for range 2 {
		cmd := exec.CommandContext(t.Context(), "make", "-C", "..", "release", "VERSION=v0.0.0-test", "DIST="+t.TempDir())
		cmd.Env = program.Env("GOCACHE=" + t.TempDir())
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("make release: %v\n%s", err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		sums = append(sums, strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
	if sums[0] != sums[1] || strings.Count(sums[0], "inturn-v0.0.0-test-") != 8 || strings.Count(sums[0], ".cdx.json") != 4 {
		t.Errorf("two releases:\n%s\n%s", sums[0], sums[1])
	}
}
