package docs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// fence is a fenced block of the README.
type fence struct {
	at       int // line of its first line
	language string
	lines    []string
}

func fences(t *testing.T) (all []fence) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		language, marks := strings.CutPrefix(line, "```")
		switch {
		case marks && !inside:
			inside = true
			all = append(all, fence{at: i + 2, language: language})
		case marks:
			inside = false
		case inside:
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	if inside || len(all) == 0 {
		t.Fatal("README.md: a fenced block does not end, or there is none")
	}
	return all
}

// The README is run from top to bottom: what it says is printed is printed. A kind
// of block that nothing here knows fails the test, so that nothing goes untested.
func TestTheREADMEIsTrue(t *testing.T) {
	program.SkipRaced(t)
	r := &reader{t: t, dir: t.TempDir()}
	for _, f := range fences(t) {
		r.at = f.at
		switch {
		case block.MatchString("```" + f.language + "\n" + strings.Join(f.lines, "\n") + "\n```"):
			// It names its file: TestTheRecipeForAFunction does what it says.
		case endpointBlock.MatchString("```" + f.language + "\n" + strings.Join(f.lines, "\n") + "\n```"):
			// TestTheEndpointOfTheREADME runs it.
		case f.language == "yaml":
			// TestConfigurationsAreGood checks it.
		case f.language == "console":
			r.console(f.lines)
		case f.language == "sh":
			for _, line := range f.lines {
				r.shell(line)
				r.at++
			}
		default:
			t.Errorf("README.md:%d: nothing tests a block of kind %q", f.at, f.language)
		}
	}
	if r.tests != 1 {
		t.Errorf("README.md has %d lines `go test ./...` in fenced blocks; CI extracts the one", r.tests)
	}
	if r.server == nil {
		t.Error("README.md never starts the server")
	} else if status := r.server.Stop(t); status != 0 {
		t.Errorf("the README's server ended with status %d", status)
	}
}

// reader does what a reader of the README does.
type reader struct {
	t      *testing.T
	at     int    // line of the README
	dir    string // where everything is run
	server *program.Server
	tests  int // lines that say go test
}

// console runs the commands of a block and compares what each prints.
func (r *reader) console(lines []string) {
	r.t.Helper()
	for len(lines) > 0 {
		command, ok := strings.CutPrefix(lines[0], "$ ")
		if !ok {
			r.t.Fatalf("README.md:%d: a console block must begin with a command: %q", r.at, lines[0])
		}
		end := 1
		for end < len(lines) && !strings.HasPrefix(lines[end], "$ ") {
			end++
		}
		r.command(command, lines[1:end])
		lines = lines[end:]
		r.at += end
	}
}

func (r *reader) command(command string, want []string) {
	r.t.Helper()
	if strings.Contains(command, "curl ") {
		program.NeedTool(r.t, "curl")
	}
	normal := normalise
	switch {
	case command == "go run . serve":
		if len(want) > 0 {
			r.t.Errorf("README.md:%d: serve prints nothing on standard output where that is no terminal", r.at)
		}
		r.server = program.Serve(r.t, r.dir, nil)
		return
	case command == "go run . demo" && !program.Full():
		command, normal = "go run . demo --events 100 --accounts 20 --work 10ms", rowName
	case command == "go test ./...":
		r.tests++
		return
	}
	got := strings.Split(strings.TrimSuffix(r.run(command), "\n"), "\n")
	for i := range max(len(got), len(want)) {
		g, w := line(got, i), line(want, i)
		if normal(g) != normal(w) {
			r.t.Errorf("README.md:%d: %s\nprints  %s\nand not %s", r.at+1+i, command, g, w)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// run runs a command line of the README and returns what it prints on standard
// output. It waits until all events are processed before it, as a person who types has.
func (r *reader) run(command string) string {
	r.t.Helper()
	if r.server != nil {
		r.settled()
		command = strings.ReplaceAll(command, "://localhost:8443", "://localhost:"+program.Port(r.server.Listen))
	}
	command, own := replacePrefix(command, "go run . ", "inturn ")
	if !own && !strings.HasPrefix(command, "curl ") {
		r.t.Fatalf("README.md:%d: nothing tests the command %q", r.at, command)
	}
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", command)
	cmd.Dir = r.dir
	cmd.Env = program.Env("PATH=" + filepath.Dir(program.Path(r.t)) + string(filepath.ListSeparator) + os.Getenv("PATH"))
	if r.server != nil { // the default is port 8443
		cmd.Env = append(cmd.Env, "INTURN_URL=https://localhost:"+program.Port(r.server.Listen))
	}
	ended := program.RunCommand(r.t, cmd)
	if ended.Status != 0 {
		r.t.Fatalf("README.md:%d: %s: status %d\n%s", r.at, command, ended.Status, ended.ErrOut)
	}
	r.t.Logf("$ %s\n%s", command, ended.Out)
	return ended.Out
}

func (r *reader) settled() {
	r.t.Helper()
	for limit := time.Now().Add(program.Patience); ; {
		pending := program.Run(r.t, r.dir, nil, "query", "--csv", "SELECT count(*) FROM pending")
		if pending.Status != 0 || time.Now().After(limit) {
			r.t.Fatalf("README.md:%d: events stay pending: %+v", r.at, pending)
		}
		if strings.TrimSpace(pending.Out) == "count(*)\n0" {
			return
		}
	}
}

func replacePrefix(s, old, new string) (string, bool) {
	rest, ok := strings.CutPrefix(s, old)
	if !ok {
		return s, false
	}
	return new + rest, true
}

// What differs from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	mark    string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"`), `"TIME"`},
	{regexp.MustCompile(`"request_id":"[A-Z2-7]{26}"`), `"request_id":"ID"`},
	{regexp.MustCompile(`^makespan( +)\d+\.\d{3} s `), `makespan$1SECONDS `},
	{regexp.MustCompile(`^ratio( +)\d\.\d{3} `), `ratio${1}RATIO `},
}

func normalise(line string) string {
	for _, v := range varying {
		line = v.pattern.ReplaceAllString(line, v.mark)
	}
	return line
}

func rowName(line string) string {
	name, _, _ := strings.Cut(line, "  ")
	return name
}

// shell checks a line of a block that is there to be copied and has no output.
func (r *reader) shell(line string) {
	r.t.Helper()
	words := strings.Fields(line)
	switch {
	case line == "" || strings.HasPrefix(line, "# "):
	case slices.Contains(endpointLines(r.t), line): // TestTheEndpointOfTheREADME
	case line == "go test ./...":
		r.tests++
	case strings.HasPrefix(line, "go run . query "), strings.HasPrefix(line, "go run . generate "),
		strings.HasPrefix(line, "go run . backup "), strings.HasPrefix(line, "go run . restore "), strings.HasPrefix(line, "go run . send "), strings.HasPrefix(line, "go run . loadtest "):
		r.run(line)
	case strings.HasPrefix(line, "go run . serve "):
		r.serve(line)
	case strings.HasPrefix(line, "go run . accounts list "), strings.HasPrefix(line, "go run . dead list "), line == "go run . types":
		r.run(line)
	case strings.HasPrefix(line, "docker build ") || strings.HasPrefix(line, "docker run "):
		r.docker(words[1], words[2:])
	default:
		r.t.Errorf("README.md:%d: nothing tests the command %q", r.at, line)
	}
}

// serve checks that the program takes the flags of a line, up to where it would
// serve: its admin address is taken.
func (r *reader) serve(line string) {
	r.t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer taken.Close()
	line = regexp.MustCompile(`--(http-)?listen \S+`).ReplaceAllString(line, "--${1}listen 127.0.0.1:0")
	args := append(strings.Fields(strings.TrimPrefix(line, "go run . ")), "--admin", taken.Addr().String())
	got := program.Run(r.t, r.t.TempDir(), []string{"INTURN_TOKEN=a-secret-of-this-test"}, args...)
	if got.Status != 1 || !strings.Contains(got.ErrOut, "serve: admin: listen on ") {
		r.t.Errorf("README.md:%d: %s: %+v", r.at, line, got)
	}
}

// docker checks a command against the Dockerfile and the program's flags; building
// an image is not for a test that needs only Go.
func (r *reader) docker(verb string, args []string) {
	r.t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		r.t.Fatal(err)
	}
	has := func(what, instruction string) {
		r.t.Helper()
		if !slices.Contains(strings.Split(string(text), "\n"), instruction) {
			r.t.Errorf("README.md:%d: %s, and the Dockerfile has no line %q", r.at, what, instruction)
		}
	}
	for i := 0; i < len(args); i++ {
		option := args[i]
		if strings.HasPrefix(option, "-") && i+1 < len(args) {
			i++
		}
		switch value := args[i]; {
		case option == "-t" && verb == "build", option == "inturn", option == "." && verb == "build":
		case option == "-p":
			has("-p "+value, "EXPOSE "+program.Port(value))
		case option == "-v":
			_, folder, _ := strings.Cut(value, ":")
			has("-v "+value, fmt.Sprintf("VOLUME [%q]", folder))
		case option == "-e":
			name, _, _ := strings.Cut(value, "=")
			if !slices.Contains(settings(r.t), name) {
				r.t.Errorf("README.md:%d: no flag is set by %s", r.at, name)
			}
		default:
			r.t.Errorf("README.md:%d: nothing tests docker's %s", r.at, option)
		}
	}
}

var (
	flagName    = regexp.MustCompile(`--[a-z][a-z-]*`)
	settingName = regexp.MustCompile(`INTURN_[A-Z_]+`)
)

// commandNames are those of the program.
var commandNames = []string{"serve", "demo", "generate", "post", "cancel", "send", "loadtest", "status", "events list", "events show", "accounts list", "accounts skip", "accounts replay", "accounts erase", "dead list", "dead redrive",
	"types", "pause", "resume", "audit", "token new", "check", "query", "backup", "restore", "compact", "health", "version", "completion bash"}

// helps is the help of the program and of all its commands.
func helps(t *testing.T) string {
	t.Helper()
	text := program.Run(t, t.TempDir(), nil, "help").Out
	for _, name := range commandNames {
		text += program.Run(t, t.TempDir(), nil, append(strings.Fields(name), "--help")...).Out
	}
	return text
}

// settings are the environment variables that the program knows.
func settings(t *testing.T) []string {
	t.Helper()
	// No flag is for it, so that it is in no list of processes.
	return append(settingName.FindAllString(helps(t), -1), "INTURN_TOKEN")
}

// Flags and variables that the text names are there.
func TestTheREADMENamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
	help := helps(t)
	flags, variables := flagName.FindAllString(help, -1), append(settings(t), "INTURN_")
	for _, flag := range flagName.FindAllString(prose, -1) {
		if !slices.Contains(flags, flag) && flag != "--cacert" { // curl's
			t.Errorf("README.md names %s, which no command has", flag)
		}
	}
	for _, name := range settingName.FindAllString(prose, -1) {
		if !slices.Contains(variables, name) && name != "INTURN_LONG" && name != "INTURN_NEED" { // the tests'
			t.Errorf("README.md names %s, which sets nothing", name)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^):#]+)\)`).FindAllStringSubmatch(prose, -1) {
		if _, err := os.Stat(filepath.Join("..", link[1])); err != nil {
			t.Errorf("README.md links to %s: %v", link[1], err)
		}
	}
	for _, f := range regexp.MustCompile("`(--[a-z-]+)` \\(([0-9a-zA-Z.:]+)\\)").FindAllStringSubmatch(prose, -1) {
		if !regexp.MustCompile(f[1] + `="?` + regexp.QuoteMeta(f[2]) + `\b`).MatchString(help) {
			t.Errorf("README.md gives %s the default %s, which no help shows", f[1], f[2])
		}
	}
}
