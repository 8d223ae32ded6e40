package proofs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"inturn/db/sqlite/file"
)

// The tests of what stands in deploy, by the programs that it is for. Grafana isn't in
// Debian: its dashboard is judged by its form, and by asking its queries of Prometheus.

func deployed(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func promtool(t *testing.T, in io.Reader, args ...string) {
	t.Helper()
	cmd := exec.Command(needTool(t, "promtool"), args...)
	cmd.Dir, cmd.Stdin = filepath.Join("..", "deploy"), in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	} else if bytes.Contains(out, []byte("should")) { // the linter's advice is no failure to it
		t.Errorf("promtool %s: %s", strings.Join(args, " "), out)
	}
}

func TestDeployRules(t *testing.T) {
	t.Parallel()
	promtool(t, nil, "check", "rules", "alerts.yml")
	promtool(t, nil, "test", "rules", "alerts_test.yml")
	promtool(t, nil, "check", "config", "--syntax-only", "prometheus.yml")

	// Each alert is tested to fire and not to fire, and says where a person reads on.
	rules, tests := deployed(t, "alerts.yml"), deployed(t, "alerts_test.yml")
	alerts := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatch(rules, -1)
	links := regexp.MustCompile(`(?m)^          runbook_url: "\{\{ \$externalLabels\.runbook \}\}#([a-z-]+)"$`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 9 || len(links) != len(alerts) {
		t.Errorf("%d alerts have %d links to the run-book", len(alerts), len(links))
	}
	for _, a := range alerts {
		fires := strings.Count(tests, "alertname: "+a[1]+"\n        exp_alerts:\n")
		quiet := strings.Count(tests, "alertname: "+a[1]+"\n        exp_alerts: []\n")
		if fires == 0 || quiet == 0 {
			t.Errorf("%s is tested to fire %d times, and not to fire %d times", a[1], fires, quiet)
		}
	}
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if !bytes.Contains(runbook, []byte(`id="`+l[1]+`"`)) && !hasHeading(string(runbook), l[1]) {
			t.Errorf("docs/runbook.md has no place #%s", l[1])
		}
	}
}

// hasHeading reports whether a heading of the text gets this anchor.
func hasHeading(text, anchor string) bool {
	for _, h := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(text, -1) {
		words := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h[1]), "")
		if strings.ReplaceAll(strings.TrimSpace(words), " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestDeployCompose(t *testing.T) {
	b, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, image := range regexp.MustCompile(`(?m)^    image: (\S+)$`).FindAllStringSubmatch(text, -1) {
		if image[1] != "inturn" && !regexp.MustCompile(`^[a-z/]+:v?\d+\.\d+\.\d+$`).MatchString(image[1]) {
			t.Errorf("the image %s has no version", image[1])
		}
	}
	duration := func(pattern string) time.Duration {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("compose.yaml has no %s", pattern)
		}
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if grace, drain := duration(`stop_grace_period: (\S+)`), duration(`INTURN_DRAIN: (\S+)`); grace <= drain+20*time.Second {
		t.Errorf("%v to stop are not above a drain of %v and 20 s", grace, drain)
	}
	for _, m := range regexp.MustCompile(`- (\./deploy/\S+?):`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Error(err)
		}
	}
}

// dashboard is as much of Grafana's form as is judged here.
type dashboard struct {
	Title      string
	UID        string
	Templating struct{ List []struct{ Name, Type string } }
	Panels     []struct {
		ID         int
		Title      string
		Type       string
		GridPos    struct{ H, W, X, Y int }
		Datasource *struct{ UID string }
		Targets    []struct{ RefID, Expr string }
	}
}

func theDashboard(t testing.TB) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(deployed(t, "grafana/dashboards/inturn.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDeployDashboard(t *testing.T) {
	d := theDashboard(t)
	if d.Title == "" || d.UID == "" || len(d.Templating.List) != 1 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("%+v", d.Templating)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its id is another's, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		if g := p.GridPos; g.W < 1 || g.X+g.W > 24 || g.H < 1 {
			t.Errorf("%s: %+v is off the grid", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("%s covers %s", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource == nil || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s asks nothing, or a source of its own", p.Title)
		}
	}
}

// shorter is what the tests run in place of the shipped rules: the same rules with
// these replacements, so that nobody waits for minutes and no disk for gigabytes.
var shorter = strings.NewReplacer(
	"for: 10m", "for: 1s", "for: 5m", "for: 1s", "for: 1m", "for: 1s", "for: 1h", "for: 1s",
	"[5m]", "[10s]", "[15m]", "[60s]",
	"> 300", "> 3",
	"> 256 * 1024 * 1024", "> 24 * 1024 * 1024",
	"4 * 3600", "1", // a few seconds of other tests' writing predict nothing
)

// prometheus is a running one.
type prometheus struct {
	t   testing.TB
	url string
}

// observe starts Prometheus with the shipped configuration on these targets, by name.
func observe(t *testing.T, targets map[string]string, flags ...string) *prometheus {
	t.Helper()
	path := needTool(t, "prometheus")
	dir := t.TempDir()
	config := strings.NewReplacer("15s", "500ms", "/run/secrets/inturn_token", filepath.Join(dir, "token")).Replace(deployed(t, "prometheus.yml"))
	head, _, ok := strings.Cut(config, "    static_configs:\n")
	if !ok {
		t.Fatal("deploy/prometheus.yml has no static_configs")
	}
	head += "    static_configs:\n"
	for name, target := range targets {
		head += fmt.Sprintf("      - targets: [%q]\n        labels: {instance: %q}\n", strings.TrimPrefix(target, "http://"), name)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prometheus.yml", head)
	write("alerts.yml", shorter.Replace(deployed(t, "alerts.yml")))
	write("token", observedToken)
	promtool(t, nil, "check", "config", filepath.Join(dir, "prometheus.yml"))
	listener, err := net.Listen("tcp", "127.0.0.1:0") // it can't say which port it got
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	var log bytes.Buffer
	cmd := exec.Command(path, append([]string{"--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address}, flags...)...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &log, &log, endsWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%.4000s", log.String())
		}
	})
	p := &prometheus{t, "http://" + address}
	eventually(t, "Prometheus", func() bool {
		res, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}

func (p *prometheus) ask(path string, data any) {
	p.t.Helper()
	res, err := http.Get(p.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %d %s %v", path, res.StatusCode, body, err)
	}
	if err := json.Unmarshal(body, &struct{ Data any }{data}); err != nil {
		p.t.Fatalf("%s: %v in %s", path, err, body)
	}
}

// samples is how many series a query has now.
func (p *prometheus) samples(query string) int {
	p.t.Helper()
	var data struct{ Result []json.RawMessage }
	p.ask("/api/v1/query?query="+url.QueryEscape(query), &data)
	return len(data.Result)
}

// firing is the alerts that fire, as "alert instance".
func (p *prometheus) firing() (all []string) {
	p.t.Helper()
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	p.ask("/api/v1/alerts", &data)
	for _, a := range data.Alerts {
		if a.State == "firing" {
			all = append(all, a.Labels["alertname"]+" "+a.Labels["instance"])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const observedToken = "observed-secret-token"

// A real Prometheus scrapes servers that are under load, each of which goes wrong in
// its own way: every alert fires for the one that it is for, and none for the one
// that is well. Every query of the dashboard has data there, with native histograms
// and, in the long form, with classic ones. That has the disk and the WAL too.
func TestObserved(t *testing.T) {
	needThorough(t)
	needTool(t, "prometheus")
	binary := binaryWith(t, "observed")
	servers := map[string]*process{}
	begin := func(name, dir string, flags ...string) (*process, func(event) answer) {
		servers[name] = startBinary(t, binary, dir, flags...)
		base, c := servers[name].ready(), (*client)(nil)
		if name != "certificate" {
			c = dial(t, dir)
		}
		return servers[name], func(ev event) answer {
			a, err := c.post(t.Context(), base, ev)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
	}
	_, send := begin("well", t.TempDir())
	down, _ := begin("down", t.TempDir())
	_, sendBad := begin("bad", t.TempDir(), "--max-pending", "20", "--in-flight", "16",
		"--function", "nobody=http://127.0.0.1:9")
	cert, key := shortLived(t)
	begin("certificate", t.TempDir(), "--tls", "files", "--cert", cert, "--key", key)
	want := []string{"InturnDown down", "InturnOldestPending bad", "InturnParkedAccounts bad", "InturnStuckAccounts bad", "InturnEndpointDown bad",
		"InturnDeadEvents bad", "InturnRefusals bad", "InturnCertificate certificate"}
	cause := func() {}
	if long() {
		disk := smallDisk(t)
		begin("disk", disk)
		_, sendHeld := begin("held", t.TempDir())
		want = append(want, "InturnDisk disk", "InturnDiskFull disk", "InturnWAL held")
		cause = func() {
			holdWAL(t, servers["held"].dir)
			for n := range 36 {
				sendHeld(event{client: "big", id: fmt.Sprint(n), typ: "work", payload: `{"ms":0,"text":"` + strings.Repeat("x", 1000<<10) + `"}`})
			}
			fill(t, disk, 1) // the last block takes of what is kept for what was accepted
		}
	}
	targets := map[string]string{}
	for name, p := range servers {
		targets[name] = p.admin()
	}
	proms := map[string]*prometheus{"native": observe(t, targets, "--enable-feature=native-histograms")}
	if long() {
		proms["classic"] = observe(t, targets)
	}

	for how, p := range proms { // an increase is seen only after a first scrape
		eventually(t, how+": a first scrape", func() bool { return p.samples("up == 1") == len(targets) })
	}

	// Load for the one that is well, until everything is seen.
	ctx, cancel := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		for n := 0; ctx.Err() == nil; n++ {
			send(event{client: fmt.Sprint("c", n%50), id: fmt.Sprint(n), typ: "message", payload: `{"phone":"+70000000001","text":"hello"}`})
			time.Sleep(time.Millisecond)
		}
	}()
	defer func() { cancel(); <-loaded }()

	// The causes.
	sendBad(event{client: "hangs", id: "1", typ: "hangs", payload: "{}"})
	sendBad(event{client: "fails", id: "1", typ: "fails", payload: "{}"})
	sendBad(event{client: "calls", id: "1", typ: "nobody", payload: "{}"})
	sendBad(event{client: "rejects", id: "1", typ: "rejects", payload: "{}"})
	for n := range 40 { // more than are taken, and longer than they may wait
		sendBad(workEvent(fmt.Sprint("slow", n), 0, time.Minute))
	}
	cause()
	down.kill()
	refusals, stop := context.WithCancel(t.Context())
	refusing := make(chan struct{})
	go func() {
		defer close(refusing)
		for n := 0; refusals.Err() == nil; n++ {
			sendBad(workEvent(fmt.Sprint("more", n), 0, time.Minute))
			time.Sleep(20 * time.Millisecond)
		}
	}()
	defer func() { stop(); <-refusing }()

	for how, p := range proms {
		for _, alert := range want {
			eventually(t, how+": "+alert, func() bool { return slices.Contains(p.firing(), alert) })
		}
		for _, alert := range p.firing() {
			if strings.HasSuffix(alert, " well") {
				t.Errorf("%s: %s fires, and nothing is wrong", how, alert)
			}
		}
		for _, panel := range theDashboard(t).Panels {
			for _, target := range panel.Targets {
				query := strings.NewReplacer("$__rate_interval", "10s").Replace(target.Expr)
				eventually(t, how+": data for "+panel.Title+": "+query, func() bool { return p.samples(query) > 0 })
			}
		}
	}
	if n := proms["native"].samples("inturn_lag_seconds"); n == 0 {
		t.Error("the native histogram of the lag is not there")
	}
}

// holdWAL begins a read that does not end before the test.
func holdWAL(t testing.TB, dir string) {
	t.Helper()
	reader, err := file.OpenReadOnly(context.Background(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := reader.Query("SELECT epoch FROM owner")
	if err != nil || !rows.Next() {
		t.Fatalf("read: %v", err)
	}
	t.Cleanup(func() {
		rows.Close()
		reader.Close()
	})
}

// shortLived makes a certificate that ends in an hour.
func shortLived(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}
