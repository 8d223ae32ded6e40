// Package clients tests package client and its siblings in clients/python and
// clients/typescript: each case of cases.json and answers.json is what all of them do,
// against the real server.
package clients

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"inturn/internal/program"
)

// trial is a case of cases.json: numbered events, and what happens meanwhile.
type trial struct {
	Name, Says string
	Modes      []string
	Serve      []string // flags of the server
	Trouble    string
	Throttle   int // bytes a second of a connection
	DelayMS    int `json:"delay_ms"`
	Events     int
	Accounts   int
	MS         int    // of each event's work
	Duplicates string // none or some; "": either
	Refusals   int    // the most answers of 429 and 503 in one call; 0: not counted
	Patience   int    // seconds
	Error      string // by which each call ends; "": none
	Status     int
}

func readCases[C any](t *testing.T, file string) (cases []C) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cases
}

// Nothing is lost, doubled or overtaken, whatever happens to the server and on the way.
// All clients send at once, each for accounts of its own. In the short form each is tried in
// one of the case's modes, another one in the next case.
func TestCases(t *testing.T) {
	t.Parallel()
	for i, c := range readCases[trial](t, "cases.json") {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, c)
			s.turn = i
			s.play()
		})
	}
}

// scene is a case under way.
type scene struct {
	trial
	t         *testing.T
	turn      int // of the case, among all
	dir       string
	token     string
	authority *authority
	serving   []string // flags
	server    *program.Server
	proxy     *proxy
	children  []*child
	again     []func() *child // runs each child's call again
}

func newScene(t *testing.T, c trial) *scene {
	s := &scene{trial: c, t: t, dir: t.TempDir(), serving: append([]string{}, c.Serve...)}
	switch c.Trouble {
	case "token":
		s.serving = append(s.serving, "--token-file", "tokens.json")
		s.token = s.newToken("first")
	case "certificate", "authority":
		s.authority = newAuthority(t, s.path("ca.pem"))
		s.authority.issue(s.path("cert.pem"), s.path("key.pem"))
		s.serving = append(s.serving, "--tls", "files", "--cert", "cert.pem", "--key", "key.pem")
	}
	s.serve()
	s.proxy = newProxy(t, s.server.Listen)
	s.proxy.set(func(p *proxy) { p.throttle, p.delay = c.Throttle, time.Duration(c.DelayMS)*time.Millisecond })
	return s
}

func (s *scene) path(name string) string { return s.dir + "/" + name }

func (s *scene) serve() { s.server = program.Serve(s.t, s.dir, nil, s.serving...) }

// newToken makes a token of the server's file.
func (s *scene) newToken(name string) string {
	s.t.Helper()
	r := program.Run(s.t, s.dir, nil, "token", "new", name, "--scope", "ingest", "--token-file", "tokens.json")
	if r.Status != 0 {
		s.t.Fatalf("token new: %+v", r)
	}
	return strings.TrimSpace(regexp.MustCompile(`(?m)^\S+$`).FindString(r.Out))
}

func (s *scene) ca() string {
	if s.server.CA != "" {
		return s.server.CA
	}
	return s.path("ca.pem")
}

func (s *scene) play() {
	s.t.Helper()
	for n, k := range kits(s.t) {
		modes := s.Modes
		if os.Getenv("INTURN_LONG") == "" {
			at := (n + s.turn) % len(modes)
			modes = modes[at : at+1]
		}
		for _, mode := range modes {
			run := func() *child {
				return start(s.t, k, mode, map[string]any{
					"url": "https://localhost:" + program.Port(s.proxy.Addr().String()), "ca": s.ca(), "token": s.token,
					"patience": s.patience(), "events": s.events(k.name + "-" + mode),
				})
			}
			s.again = append(s.again, run)
			s.children = append(s.children, run())
		}
	}
	s.trouble()
	for i, c := range s.children {
		lines := c.wait()
		if s.Error == "" {
			s.complete(c, lines)
			continue
		}
		if n := len(lines); n == 0 || lines[n-1].Error != s.Error || s.Status != lines[n-1].Status || lines[n-1].Text == "" {
			s.t.Errorf("%s: ended with %+v, want the error %s %d", c.name, lines[max(0, n-1):], s.Error, s.Status)
		}
		if s.Trouble != "gone" {
			s.children[i] = s.again[i]()
		}
	}
	if s.Error != "" && s.Trouble != "gone" {
		for _, c := range s.children {
			s.complete(c, c.wait())
		}
	}
	s.file()
	if status := s.server.Stop(s.t); status != 0 {
		s.t.Errorf("the server ended with status %d", status)
	}
}

// patience is how long each call goes on without an answer, in seconds.
func (s *scene) patience() int {
	if s.Patience > 0 {
		return s.Patience
	}
	return 60
}

// events are those of a child: each account's are numbered from 0.
func (s *scene) events(prefix string) []map[string]any {
	all := make([]map[string]any, s.Events)
	for i := range all {
		all[i] = map[string]any{
			"client_id": fmt.Sprintf("%s-%d", prefix, i%s.Accounts), "message_id": fmt.Sprintf("m%d", i), "type": "work",
			"payload": map[string]any{"ms": s.MS, "n": i / s.Accounts},
		}
	}
	return all
}

// complete checks what a child was answered: a receipt for each event, in order.
func (s *scene) complete(c *child, lines []said) {
	s.t.Helper()
	if len(lines) != s.Events {
		s.t.Errorf("%s: %d answers for %d events, the last %+v", c.name, len(lines), s.Events, lines[max(0, len(lines)-1):])
	}
	duplicates := 0
	for i, l := range lines {
		if l.MessageID != "m"+strconv.Itoa(i) || l.Status != 0 || l.Error != "" || l.Seq == 0 {
			s.t.Fatalf("%s: answer %d is %+v", c.name, i, l)
		}
		if l.Duplicate {
			duplicates++
		}
	}
	if s.Duplicates == "none" && duplicates > 0 {
		s.t.Errorf("%s: %d events were sent twice without need", c.name, duplicates)
	}
	if s.Duplicates == "some" && duplicates == 0 && !strings.HasSuffix(c.name, "batch") {
		s.t.Errorf("%s: no answer was lost: the case shows nothing", c.name)
	}
}

// file checks what is in the file: of each account every event once, in the order in which
// it was given. Where the server was gone there is none.
func (s *scene) file() {
	s.t.Helper()
	r := program.Run(s.t, s.dir, nil, "query", "--json", "SELECT client_id, CAST(payload ->> '$.n' AS INTEGER) AS n FROM outbox ORDER BY seq")
	var rows []struct {
		ClientID string `json:"client_id"`
		N        int    `json:"n"`
	}
	if err := json.Unmarshal([]byte(r.Out), &rows); err != nil {
		s.t.Fatalf("query: %v: %+v", err, r)
	}
	next := map[string]int{}
	for _, row := range rows {
		if row.N != next[row.ClientID] {
			s.t.Fatalf("%s: event %d is accepted where %d is next", row.ClientID, row.N, next[row.ClientID])
		}
		next[row.ClientID]++
	}
	if want := s.Events * len(s.children); len(rows) != want && s.Trouble != "gone" {
		s.t.Errorf("%d events are in the file, %d were sent", len(rows), want)
	}
	if s.Refusals > 0 {
		s.refusals()
	}
}

// refusals counts how often the server said to come back later: a client that comes back
// sooner than it was told is told so again.
func (s *scene) refusals() {
	s.t.Helper()
	a := program.Curl(s.t, "http://"+s.server.Admin+"/metrics")
	total := 0
	for _, m := range regexp.MustCompile(`(?m)^inturn_refusals_total\{reason="(?:account-full|backlog-full|rate-limited)"\} (\d+)$`).FindAllStringSubmatch(a.Body, -1) {
		n, _ := strconv.Atoi(m[1])
		total += n
	}
	if most := s.Refusals * len(s.children); total == 0 || total > most {
		s.t.Errorf("the server said %d times to come back later, want 1 to %d of %d calls", total, most, len(s.children))
	}
}

// answerCase is a case of answers.json: events and what each is answered.
type answerCase struct {
	Name, Says string
	Modes      []string
	Events     []map[string]any
	Answers    []string // client_id, message_id (* is any), and status with the problem's name, state or "duplicate"
	OnError    string   `json:"on_error"`
	Wait, Pad  int
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	all := kits(t)
	s := program.Serve(t, t.TempDir(), nil)
	for _, c := range readCases[answerCase](t, "answers.json") {
		t.Run(c.Name, func(t *testing.T) {
			for _, k := range all {
				for _, mode := range c.Modes {
					prefix := k.name + " " + mode + " "
					ask := map[string]any{"url": "https://localhost:" + program.Port(s.Listen), "ca": s.CA, "wait": c.Wait}
					if c.OnError != "" {
						ask["on_error"] = c.OnError
					}
					events := []map[string]any{}
					for _, ev := range c.Events {
						own := maps.Clone(ev)
						own["client_id"] = prefix + ev["client_id"].(string)
						if c.Pad > 0 {
							own["payload"] = map[string]any{"ms": 0, "pad": strings.Repeat("x", c.Pad)}
						}
						events = append(events, own)
					}
					ask["events"] = events
					got := answersOf(start(t, k, mode, ask).wait(), prefix)
					want := slices.Clone(c.Answers)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("%s: answered\n%q\nwant\n%q", prefix, got, want)
					}
				}
			}
		})
	}
}

// answersOf returns lines as answers.json has them, sorted.
func answersOf(lines []said, prefix string) []string {
	got := []string{}
	for _, l := range lines {
		what := "202"
		switch {
		case l.Status != 0:
			what = fmt.Sprintf("%d %s", l.Status, l.Name)
		case l.State == "done" && len(l.Result) > 0 && string(l.Result) != "null":
			what = "done"
		case l.Duplicate:
			what = "duplicate"
		}
		id := l.MessageID
		if len(id) > 20 { // one that was made
			id = "*"
		}
		got = append(got, strings.TrimPrefix(l.ClientID, prefix)+" "+id+" "+what)
	}
	slices.Sort(got)
	return got
}
