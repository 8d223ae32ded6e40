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

// fence is a fenced block of a page.
type fence struct {
	at       int // line of its first line
	language string
	lines    []string
}

func fences(t *testing.T, page string) (all []fence) {
	t.Helper()
	text, err := os.ReadFile(page)
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
	if inside {
		t.Fatalf("%s: a fenced block does not end", page)
	}
	return all
}

// pages are the README and the pages of docs. The run-book has a test of its own.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("*.md")
	if err != nil || len(found) < 10 {
		t.Fatalf("docs: %d pages, %v", len(found), err)
	}
	return append(slices.DeleteFunc(found, func(page string) bool { return page == "runbook.md" }), "../README.md")
}

// testedElsewhere are the pages whose blocks are those of programs that stand, with their
// test, in another folder.
var testedElsewhere = map[string]string{"senders.md": "proofs/senders", "reading.md": "proofs/readers"}

// Each page is run from top to bottom: what it says is printed is printed. A kind
// of block that nothing here knows fails the test, so that nothing goes untested.
func TestThePagesAreTrue(t *testing.T) {
	program.SkipRaced(t)
	for _, page := range pages(t) {
		all := fences(t, page)
		if len(all) == 0 || testedElsewhere[page] != "" {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			(&reader{t: t, page: page, dir: t.TempDir()}).read(all)
		})
	}
}

func (r *reader) read(all []fence) {
	for _, f := range all {
		r.at = f.at
		whole := "```" + f.language + "\n" + strings.Join(f.lines, "\n") + "\n```"
		switch {
		case block.MatchString(whole):
			// It names its file: TestTheRecipeForAFunction or TestTheFunctionOfTheREADME does what it says.
		case endpointBlock.MatchString(whole):
			// TestTheEndpoint runs it.
		case clientBlock.MatchString(whole):
			// TestTheClients runs it.
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
			r.t.Errorf("%s:%d: nothing tests a block of kind %q", r.page, f.at, f.language)
		}
	}
	if want := strings.Count(r.page, "README"); r.tests != want {
		r.t.Errorf("%s has %d lines `go test ./...` in fenced blocks, want %d; CI extracts the README's", r.page, r.tests, want)
	}
	if r.server != nil {
		if status := r.server.Stop(r.t); status != 0 {
			r.t.Errorf("%s: its server ended with status %d", r.page, status)
		}
	}
}

// reader does what a reader of a page does.
type reader struct {
	t      *testing.T
	page   string
	at     int    // line of the page
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
			r.t.Fatalf("%s:%d: a console block must begin with a command: %q", r.page, r.at, lines[0])
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
	command = inturn(command)
	switch {
	case command == "inturn serve":
		if len(want) > 0 {
			r.t.Errorf("%s:%d: serve prints nothing on standard output where that is no terminal", r.page, r.at)
		}
		r.server = program.Serve(r.t, r.dir, nil)
		return
	case command == "inturn demo" && !program.Full():
		command, normal = "inturn demo --events 100 --accounts 20 --work 10ms", rowName
	case command == "go test ./...":
		r.tests++
		return
	}
	got := strings.Split(strings.TrimSuffix(r.run(command), "\n"), "\n")
	for i := range max(len(got), len(want)) {
		g, w := line(got, i), line(want, i)
		if normal(g) != normal(w) {
			r.t.Errorf("%s:%d: %s\nprints  %s\nand not %s", r.page, r.at+1+i, command, g, w)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// inturn returns a command as the binary is called: the README, for a checkout, has `go run .`.
func inturn(command string) string {
	if rest, ok := strings.CutPrefix(command, "go run . "); ok {
		return "inturn " + rest
	}
	return command
}

// run runs a command line of the page and returns what it prints on standard
// output. It waits until all events are processed before it, as a person who types has.
func (r *reader) run(command string) string {
	r.t.Helper()
	if r.server == nil && needsServer(command) {
		r.server = program.Serve(r.t, r.dir, nil)
	}
	if r.server != nil {
		r.settled()
		command = strings.ReplaceAll(command, "://localhost:8443", "://localhost:"+program.Port(r.server.Listen))
	}
	command = inturn(command)
	if !strings.HasPrefix(command, "inturn ") && !strings.HasPrefix(command, "curl ") {
		r.t.Fatalf("%s:%d: nothing tests the command %q", r.page, r.at, command)
	}
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", command)
	cmd.Dir = r.dir
	cmd.Env = program.Env("PATH=" + filepath.Dir(program.Path(r.t)) + string(filepath.ListSeparator) + os.Getenv("PATH"))
	if r.server != nil { // the default is port 8443
		cmd.Env = append(cmd.Env, "INTURN_URL=https://localhost:"+program.Port(r.server.Listen))
	}
	ended := program.RunCommand(r.t, cmd)
	if ended.Status != 0 {
		r.t.Fatalf("%s:%d: %s: status %d\n%s", r.page, r.at, command, ended.Status, ended.ErrOut)
	}
	r.t.Logf("$ %s\n%s", command, ended.Out)
	return ended.Out
}

func (r *reader) settled() {
	r.t.Helper()
	for limit := time.Now().Add(program.Patience); ; {
		pending := program.Run(r.t, r.dir, nil, "query", "--csv", "SELECT count(*) FROM pending")
		if pending.Status != 0 || time.Now().After(limit) {
			r.t.Fatalf("%s:%d: events stay pending: %+v", r.page, r.at, pending)
		}
		if strings.TrimSpace(pending.Out) == "count(*)\n0" {
			return
		}
	}
}

// needsServer reports whether a command is a client's.
func needsServer(command string) bool {
	words := strings.Fields(inturn(command))
	return words[0] == "curl" || !slices.Contains([]string{"demo", "generate", "query", "check", "restore", "help", "config"}, words[1])
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
	own := inturn(line)
	switch {
	case line == "" || strings.HasPrefix(line, "# "):
	case slices.Contains(endpointLines(r.t), line), slices.Contains(clientLines(r.t), line): // TestTheEndpoint, TestTheClients
	case line == "go test ./...":
		r.tests++
	case strings.HasPrefix(own, "inturn serve --function greet="): // of an example, which has a test
	case own == "inturn config check inturn.yaml": // TestConfigurationsAreGood
	case strings.HasPrefix(own, "inturn serve "):
		r.serve(own)
	case strings.HasPrefix(own, "inturn "):
		r.run(line)
	case strings.HasPrefix(line, "python3 examples/"):
		if _, err := os.Stat(filepath.Join("..", strings.Fields(line)[1])); err != nil {
			r.t.Errorf("%s:%d: %v", r.page, r.at, err)
		}
	case strings.HasPrefix(line, "docker "):
		for command := range strings.SplitSeq(line, " && ") {
			words := strings.Fields(command)
			r.docker(words[1], words[2:])
		}
	case strings.HasPrefix(line, "kubectl "):
		r.kubectl(line)
	case strings.HasPrefix(line, "export INTURN_TOKEN="):
		if _, rest, ok := strings.Cut(line, " && "); ok {
			r.shell(rest)
		}
	case strings.HasPrefix(line, "until docker "): // the file is there a moment after the start
		first, second, _ := strings.Cut(line, "; do sleep 1; done; ")
		r.shell(strings.TrimPrefix(first, "until "))
		r.shell(second)
	case strings.HasPrefix(line, "curl "):
		r.curl(line)
	default:
		r.t.Errorf("%s:%d: nothing tests the command %q", r.page, r.at, line)
	}
}

// curl runs a line that is meant for the container, with the CA of the server that is here.
func (r *reader) curl(line string) {
	r.t.Helper()
	if got := r.run(strings.ReplaceAll(line, "ca.pem", "data/tls/ca.pem")); !strings.Contains(got, `"state":"`) {
		r.t.Errorf("%s:%d: %s\nprints %s", r.page, r.at, line, got)
	}
}

// kubectl checks what a command names against the file that it applies.
func (r *reader) kubectl(line string) {
	r.t.Helper()
	text, err := os.ReadFile("../deploy/kubernetes/inturn.yaml")
	if err != nil {
		r.t.Fatal(err)
	}
	words := strings.Fields(line)
	switch words[1] {
	case "apply":
		if words[3] != "deploy/kubernetes/inturn.yaml" {
			r.t.Errorf("%s:%d: %s", r.page, r.at, line)
		}
	case "create":
		if !strings.Contains(string(text), "secretKeyRef: { name: "+words[4]+", key: token }") || !strings.Contains(line, "--from-literal=token=") {
			r.t.Errorf("%s:%d: the pod reads another secret than %s makes", r.page, r.at, line)
		}
	case "exec":
		_, command, _ := strings.Cut(line, " -- /")
		r.run(command)
	default:
		r.t.Errorf("%s:%d: nothing tests %s", r.page, r.at, line)
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
	args := append(strings.Fields(strings.TrimPrefix(line, "inturn ")), "--admin", taken.Addr().String())
	got := program.Run(r.t, r.t.TempDir(), []string{"INTURN_TOKEN=a-secret-of-this-test"}, args...)
	if got.Status != 1 || !strings.Contains(got.ErrOut, "serve: admin: listen on ") {
		r.t.Errorf("%s:%d: %s: %+v", r.page, r.at, line, got)
	}
}

// docker checks a command against the Dockerfile, compose.yaml and the program's flags, and
// runs the program's own commands that it has; building an image is not for a test that needs
// only Go.
func (r *reader) docker(verb string, args []string) {
	r.t.Helper()
	line := strings.Join(args, " ")
	if _, command, ok := strings.Cut(line, " /inturn "); ok && strings.Contains(verb+" "+line, "exec ") {
		r.run("inturn " + command)
		return
	}
	switch verb {
	case "cp":
		if args[0] != "inturn:/data/tls/ca.pem" {
			r.t.Errorf("%s:%d: docker cp %s", r.page, r.at, line)
		}
		return
	case "compose":
		r.compose(args)
		return
	}
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		r.t.Fatal(err)
	}
	has := func(what, instruction string) {
		r.t.Helper()
		if !slices.Contains(strings.Split(string(text), "\n"), instruction) {
			r.t.Errorf("%s:%d: %s, and the Dockerfile has no line %q", r.page, r.at, what, instruction)
		}
	}
	for i := 0; i < len(args); i++ {
		option := args[i]
		if strings.HasPrefix(option, "-") && option != "-d" && i+1 < len(args) {
			i++
		}
		switch value := args[i]; {
		case option == "-t" && verb == "build", option == "-d", option == "--name", option == "inturn", option == "." && verb == "build":
		case option == "-p":
			has("-p "+value, "EXPOSE "+program.Port(value))
		case option == "-v":
			_, folder, _ := strings.Cut(value, ":")
			has("-v "+value, fmt.Sprintf("VOLUME [%q]", folder))
		case option == "-e":
			name, _, _ := strings.Cut(value, "=")
			if !slices.Contains(settings(r.t), name) {
				r.t.Errorf("%s:%d: no flag is set by %s", r.page, r.at, name)
			}
		default:
			r.t.Errorf("%s:%d: nothing tests docker's %s", r.page, r.at, option)
		}
	}
}

// compose checks a command against compose.yaml.
func (r *reader) compose(args []string) {
	r.t.Helper()
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		r.t.Fatal(err)
	}
	service := args[len(args)-1]
	if args[0] == "run" && !strings.Contains(string(text), "\n  "+service+":\n") || args[0] != "run" && args[0] != "up" {
		r.t.Errorf("%s:%d: docker compose %s: compose.yaml has no such service", r.page, r.at, strings.Join(args, " "))
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

// Flags, variables and links that the pages name are there.
func TestThePagesNameWhatIsThere(t *testing.T) {
	help := helps(t)
	flags, variables := append(flagName.FindAllString(help, -1), foreignFlags...), append(settings(t), "INTURN_", "INTURN_LONG", "INTURN_NEED")
	for _, page := range append(pages(t), "runbook.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
		for _, flag := range flagName.FindAllString(prose, -1) {
			if !slices.Contains(flags, flag) {
				t.Errorf("%s names %s, which no command has", page, flag)
			}
		}
		for _, name := range settingName.FindAllString(prose, -1) {
			if !slices.Contains(variables, name) {
				t.Errorf("%s names %s, which sets nothing", page, name)
			}
		}
		for _, f := range regexp.MustCompile("`(--[a-z-]+)` \\(([0-9a-zA-Z.:]+)\\)").FindAllStringSubmatch(prose, -1) {
			if !regexp.MustCompile(f[1] + `="?` + regexp.QuoteMeta(f[2]) + `\b`).MatchString(help) {
				t.Errorf("%s gives %s the default %s, which no help shows", page, f[1], f[2])
			}
		}
		for _, link := range links(prose) {
			file, heading, _ := strings.Cut(link, "#")
			if file == "" {
				file = filepath.Base(page)
			}
			target := filepath.Join(filepath.Dir(page), file)
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, link, err)
			} else if heading != "" && !slices.Contains(headings(t, target), heading) {
				t.Errorf("%s links to %s, which has no such heading", page, link)
			}
		}
	}
}

// foreignFlags are those of other programs.
var foreignFlags = []string{"--ha", "--build-arg", "--app", "--region", "--size", "--skip-health-checks", "--command", "--tags", "--always", "--retry", "--retry-all-errors", "--data-checksums"}

// links are what a text links to in this repository.
func links(text string) (all []string) {
	for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// headings are the anchors of a page.
func headings(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(kept, " ", "-"))
	}
	return all
}

// Every page is reached from the README in two clicks, and the README is short.
func TestEveryPageIsReached(t *testing.T) {
	read := func(page string) string {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	reached := map[string]bool{}
	readme := read("../README.md")
	if n := strings.Count(readme, "\n"); n > 150 {
		t.Errorf("README.md has %d lines, at most 150 are read", n)
	}
	for _, link := range links(readme) {
		file, _, _ := strings.Cut(link, "#")
		reached[filepath.Clean(filepath.Join("..", file))] = true
	}
	if !reached["index.md"] {
		reached[filepath.Clean("../docs/index.md")] = true
	}
	for _, link := range links(read("index.md")) {
		file, _, _ := strings.Cut(link, "#")
		reached[filepath.Clean(file)] = true
	}
	for _, page := range append(pages(t), "runbook.md") {
		if name := filepath.Clean(page); !reached[name] && !reached[filepath.Join("../docs", name)] && page != "../README.md" {
			t.Errorf("docs/%s is reached neither from README.md nor from docs/index.md", page)
		}
	}
}

// No page has a paragraph, or a row of a table, of another.
func TestNoPageRepeatsAnother(t *testing.T) {
	of := map[string]string{}
	for _, page := range append(pages(t), "runbook.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")) {
			line = strings.TrimSpace(line)
			if len(line) < 60 {
				continue
			}
			if other := of[line]; other != "" && other != page {
				t.Errorf("%s and %s both say %q", other, page, line)
			}
			of[line] = page
		}
	}
}
