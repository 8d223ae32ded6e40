package docs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/internal/program"
)

// The README's section "Your own function", executed in a copy of the repository:
// its blocks name their files in their first line.
func TestTheRecipeForAFunction(t *testing.T) {
	program.SkipRaced(t)
	if os.Getenv("INTURN_LONG") == "" && os.Getenv("INTURN_NEED") == "" {
		t.Skip("building sqlc takes a minute the first time: set INTURN_LONG=1 or INTURN_NEED=all")
	}
	r := recipe{t: t, dir: filepath.Join(t.TempDir(), "copy"), db: filepath.Join(t.TempDir(), "data", "inturn.db")}
	copyRepository(t, r.dir)
	if out, err := r.try("go", "tool", "-modfile=tools/go.mod", "sqlc", "version"); err != nil {
		if os.Getenv("INTURN_NEED") != "" {
			t.Fatalf("sqlc can't be built: %v\n%s", err, out)
		}
		t.Skipf("skipped for want of sqlc, which can't be built: %v\n%s", err, out)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## Your own function\n")
	if !ok {
		t.Fatal("README.md has no section \"Your own function\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	first, second, ok := strings.Cut(section, "**Another version of its table**")
	if !ok {
		t.Fatal("README.md does not say how a table gets another version")
	}
	before := r.files()

	r.follow(first)
	r.must("go", "tool", "-modfile=tools/go.mod", "sqlc", "generate")
	r.must("go", "vet", ".", "./functions/order/...")
	r.must("go", "test", "./functions/order/...")
	r.must("go", "build", "-o", "inturn-recipe", ".")
	s := r.serve()
	s.post("/v1/events", http.StatusOK, `{"client_id":"anna","message_id":"1","type":"order","payload":{"sku":"tea"}}`,
		http.Header{"Prefer": {"wait=30"}}, `"state":"done"`)
	s.post("/v1/events", http.StatusBadRequest, `{"client_id":"anna","message_id":"2","type":"order","payload":{}}`, nil, `#/payload/sku`)
	r.rows(`SELECT client_id, sku, cents FROM orders`, map[string]any{"client_id": "anna", "sku": "tea", "cents": float64(450)})
	s.stop()
	r.must("./inturn-recipe", "check", "--db", r.db)

	r.follow(second)
	r.must("go", "vet", ".", "./functions/order/...")
	r.must("go", "test", "./functions/order/...")
	r.must("go", "build", "-o", "inturn-recipe", ".")
	s = r.serve("SHOP_KEY=secret")
	r.rows(`SELECT sku, note, version FROM orders, function_tables WHERE function = 'order'`,
		map[string]any{"sku": "tea", "note": nil, "version": float64(2)})
	body := `{"sku":"coffee"}`
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(body))
	signed := http.Header{"Shop-Delivery": {"d-7"}, "Shop-Signature": {hex.EncodeToString(mac.Sum(nil))}, "Prefer": {"wait=30"}}
	s.post("/hooks/shop/bert", http.StatusOK, body, signed, `"state":"done"`)
	s.post("/hooks/shop/bert", http.StatusOK, body, signed, `"duplicate":true`)
	signed.Set("Shop-Signature", "00")
	s.post("/hooks/shop/bert", http.StatusUnauthorized, body, signed, "signature")
	r.rows(`SELECT client_id, sku FROM orders WHERE message_id = 'd-7'`, map[string]any{"client_id": "bert", "sku": "coffee"})
	s.stop()
	r.must("./inturn-recipe", "check", "--db", r.db)

	// What the recipe touched: a new folder, and one place each in two files.
	after := r.files()
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if name != "inturn-recipe" && !strings.HasPrefix(name, "functions/order/") && !bytes.Equal(before[name], after[name]) &&
			name != "main.go" && name != "sqlc.yaml" {
			t.Errorf("the recipe changed %s", name)
		}
	}
	if n := addedLines(t, before["main.go"], after["main.go"]); n > 3 {
		t.Errorf("main.go has %d new lines, want an import and one line a function", n)
	}
}

// copyRepository copies what a clone would have, whether it is committed or not.
func copyRepository(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == "data"):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		case !entry.Type().IsRegular() || path == "inturn":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// addedLines counts the lines of after that before lacks; all others must be there.
func addedLines(t *testing.T, before, after []byte) int {
	t.Helper()
	was, added := strings.Split(string(before), "\n"), 0
	for line := range strings.SplitSeq(string(after), "\n") {
		if len(was) > 0 && was[0] == line {
			was = was[1:]
		} else {
			added++
		}
	}
	if len(was) > 0 {
		t.Errorf("the recipe took lines away, from %q on", was[0])
	}
	return added
}

// recipe is a copy of the repository in which the README is followed.
type recipe struct {
	t   *testing.T
	dir string
	db  string
}

// block is a fenced block that names its file.
var block = regexp.MustCompile("(?m)^```(\\w+)\n(?://|--|#) ([\\w./-]+\\.(?:go|sql|yaml))\n((?s:.*?))^```$")

// follow does what the blocks of a text say: a diff adds its lines after the line
// that stands before them, yaml is appended, all else is a new file.
func (r *recipe) follow(text string) {
	r.t.Helper()
	blocks := block.FindAllStringSubmatch(text, -1)
	if fences := strings.Count(text, "\n```") / 2; len(blocks) != fences || fences == 0 {
		r.t.Fatalf("%d of the README's %d blocks name their file in the first line", len(blocks), fences)
	}
	for _, b := range blocks {
		path := filepath.Join(r.dir, filepath.FromSlash(b[2]))
		was, err := os.ReadFile(path)
		if (b[1] == "go" || b[1] == "sql") != errors.Is(err, fs.ErrNotExist) {
			r.t.Fatalf("%s: a block of kind %s does not fit: %v", b[2], b[1], err)
		}
		now := b[3]
		switch b[1] {
		case "diff":
			now = r.apply(b[2], string(was), b[3])
		case "yaml":
			now = string(was) + b[3]
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// apply adds the lines of a diff that has no removals.
func (r *recipe) apply(name, text, diff string) string {
	r.t.Helper()
	anchor := ""
	for line := range strings.Lines(diff) {
		switch line[0] {
		case ' ':
			anchor = "\n" + line[1:]
			if strings.Count(text, anchor) != 1 {
				r.t.Fatalf("%s has the line %q %d times; the README's diff needs it once", name, line[1:], strings.Count(text, anchor))
			}
		case '+':
			text = strings.Replace(text, anchor, anchor+line[1:], 1)
			anchor += line[1:]
		}
	}
	return text
}

// files returns the content of every file of the copy.
func (r *recipe) files() map[string][]byte {
	r.t.Helper()
	all := map[string][]byte{}
	root := os.DirFS(r.dir)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		all[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *recipe) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *recipe) must(name string, args ...string) string {
	r.t.Helper()
	out, err := r.try(name, args...)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// rows reads the file with the binary; it must return the one row.
func (r *recipe) rows(query string, want map[string]any) {
	r.t.Helper()
	out := r.must("./inturn-recipe", "query", "--json", "--db", r.db, query)
	var got []map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		r.t.Fatalf("%s\n%s%v", query, out, err)
	}
	if len(got) != 1 || !maps.Equal(got[0], want) {
		r.t.Errorf("%s\n got %v\nwant %v", query, got, want)
	}
}

// recipeServer is the built binary, serving.
type recipeServer struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *bytes.Buffer
	read   chan struct{} // closed when the log has ended
	url    string
	client *http.Client
}

func (r *recipe) serve(env ...string) *recipeServer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	s := &recipeServer{t: r.t, log: &bytes.Buffer{}, read: make(chan struct{})}
	s.cmd = exec.CommandContext(ctx, "./inturn-recipe", "serve", "--db", r.db, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	s.cmd.Dir, s.cmd.Env = r.dir, append(os.Environ(), env...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cancel(); <-s.read; _ = s.cmd.Wait() })

	type ready struct{ Msg, URL, CA string }
	said := make(chan ready, 1)
	go func() {
		defer close(s.read)
		lines := bufio.NewScanner(io.TeeReader(stderr, s.log))
		for lines.Scan() {
			var line ready
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				said <- line
			}
		}
	}()
	var at ready
	select {
	case at = <-said:
	case <-s.read:
		r.t.Fatalf("serve did not get ready:\n%s", s.log)
	}
	pem, err := os.ReadFile(at.CA)
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	s.url = at.URL
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return s
}

// post sends a body; the answer must have the status and contain want.
func (s *recipeServer) post(path string, status int, body string, header http.Header, want string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != status || !strings.Contains(string(answer), want) {
		s.t.Errorf("POST %s: %s, %s; want %d and %s", path, resp.Status, answer, status, want)
	}
}

// stop ends the server as a platform does; it must end in order.
func (s *recipeServer) stop() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	<-s.read
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatal(fmt.Errorf("serve ended with %w:\n%s", err, s.log))
	}
}
