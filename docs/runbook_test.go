package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// anchors are the headings of docs/runbook.md that alert rules link to.
var anchors = []string{"parked-accounts", "stuck-accounts", "endpoint-down", "oldest-pending", "dead-events", "refusals", "disk", "wal", "configuration", "certificate", "down"}

// The run-book's commands are run from top to bottom on a server whose function
// fails on demand, and print what stands there. A comment of its own brings about
// what a section is about:
//
//	<!-- run: COMMAND -->            runs it
//	<!-- until: REGEXP: COMMAND -->  repeats it until what it prints matches
func TestTheRunBookIsTrue(t *testing.T) {
	program.SkipRaced(t)
	program.NeedTool(t, "curl")
	file := program.Failing(t)
	text, err := os.ReadFile("runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	b := &runBook{t: t, dir: t.TempDir()}
	for name, rows := range map[string]string{
		"events.csv": "alice,1,charge,\"{\"\"cents\"\":450}\"\nalice,2,charge,\"{\"\"cents\"\":900}\"\n",
		"more.csv":   "ben,1,charge,\"{\"\"cents\"\":100}\"\ncarl,1,charge,\"{\"\"cents\"\":100}\"\n",
		"mail.csv":   "dora,1,mail,{}\n",
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte("client_id,message_id,type,payload\n"+rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.server = program.ServeWith(t, file, b.dir, []string{"INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0",
		"INTURN_FUNCTION=mail=http://127.0.0.1:9"}) // where nothing listens
	b.env = program.Env("PATH="+filepath.Dir(file)+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"INTURN_URL=https://localhost:"+program.Port(b.server.Listen), "INTURN_ADMIN="+b.server.Admin)

	lines, inside, command, printed, commands := strings.Split(string(text), "\n"), false, "", []string{}, 0
	flush := func(at int) {
		if command != "" {
			b.compare(at, command, printed)
			commands++
		}
		command, printed = "", nil
	}
	for i, line := range lines {
		b.at = i + 1
		switch {
		case line == "```console":
			inside = true
		case strings.HasPrefix(line, "```") && inside:
			flush(i)
			inside = false
		case strings.HasPrefix(line, "```"):
			t.Fatalf("docs/runbook.md:%d: nothing tests this kind of block", b.at)
		case inside && strings.HasPrefix(line, "$ "):
			flush(i)
			command = line[2:]
		case inside && command == "":
			t.Fatalf("docs/runbook.md:%d: a block must begin with a command", b.at)
		case inside:
			printed = append(printed, line)
		default:
			b.aside(line)
		}
	}
	if commands < 20 {
		t.Errorf("docs/runbook.md has %d commands", commands)
	}
	if status := b.server.Stop(t); status != 0 {
		t.Errorf("the server ended with status %d", status)
	}
	b.links(string(text))
}

// runBook does what a reader of the run-book does.
type runBook struct {
	t      *testing.T
	at     int // line
	dir    string
	env    []string
	server *program.Server
}

func (b *runBook) run(command string) program.Result {
	b.t.Helper()
	command = strings.ReplaceAll(command, "127.0.0.1:9091", b.server.Admin)
	cmd := exec.CommandContext(b.t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = b.dir, b.env
	return program.RunCommand(b.t, cmd)
}

func (b *runBook) must(command string) string {
	b.t.Helper()
	r := b.run(command)
	if r.Status != 0 {
		b.t.Fatalf("docs/runbook.md:%d: %s: status %d\n%s%s", b.at, command, r.Status, r.Out, r.ErrOut)
	}
	return r.Out
}

var asideComment = regexp.MustCompile(`^<!-- (run|until): (.*) -->$`)

func (b *runBook) aside(line string) {
	b.t.Helper()
	m := asideComment.FindStringSubmatch(line)
	switch {
	case m == nil:
	case m[1] == "run":
		b.must(m[2])
	default:
		want, command, _ := strings.Cut(m[2], ": ")
		matches := regexp.MustCompile(want)
		for limit := time.Now().Add(program.Patience); !matches.MatchString(b.must(command)); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				b.t.Fatalf("docs/runbook.md:%d: %s never prints %s", b.at, command, want)
			}
		}
	}
}

// What differs from run to run in the run-book, beside what does in the README.
var runBookVarying = []struct {
	pattern *regexp.Regexp
	mark    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), `TIME`},
	{regexp.MustCompile(`^(request_id +)[A-Z2-7]{26}$`), `${1}ID`},
	{regexp.MustCompile(`^(inturn_\w+(?:bytes|pages|seconds)) [0-9.e+]+$`), `$1 NUMBER`},
	{regexp.MustCompile(`process \d+ on \S+$`), `PROCESS`},
	{regexp.MustCompile(`^(account \w+): (idle|ready|running), \d+ pending$`), `$1: GOES ON`}, // it does so at that moment
}

func (b *runBook) compare(at int, command string, want []string) {
	b.t.Helper()
	b.at = at - len(want)
	got := b.must(command)
	if strings.HasPrefix(command, "df ") { // another machine's disk
		return
	}
	normal := func(text string) (lines []string) {
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			for _, v := range runBookVarying {
				line = v.pattern.ReplaceAllString(line, v.mark)
			}
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return lines
	}
	is, should := strings.Join(normal(got), "\n"), strings.Join(normal(strings.Join(want, "\n")), "\n")
	if is != should {
		b.t.Errorf("docs/runbook.md:%d: %s\nprints\n%s\nand not\n%s", b.at, command, is, should)
	}
}

// links looks for what alert rules and the text itself link to, and for flags and
// metrics that nothing has.
func (b *runBook) links(text string) {
	b.t.Helper()
	here := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1) {
		here[strings.ToLower(strings.ReplaceAll(heading[1], " ", "-"))] = true
	}
	wanted := anchors
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		wanted = append(wanted, link[1])
	}
	for _, anchor := range wanted {
		if !here[anchor] {
			b.t.Errorf("docs/runbook.md has no heading for #%s", anchor)
		}
	}
}
