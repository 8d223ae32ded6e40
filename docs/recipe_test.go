package docs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"inturn/internal/program"
)

// sectionOf returns a section of a page, down to the next of its level.
func sectionOf(t *testing.T, page, name string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+name+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, name)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// The README's function is a module of one's own that works as it says.
func TestTheFunctionOfTheREADME(t *testing.T) {
	t.Parallel()
	program.SkipRaced(t)
	section := sectionOf(t, "../README.md", "Your own function, in Go")
	r := recipe{t: t, dir: t.TempDir()}
	r.follow(section)
	r.checkout()
	r.must("go", "mod", "tidy")
	s := r.serve()
	post := regexp.MustCompile("`go run \\. (post [^`]*)`, whose result is\n`([^`]*)`").FindStringSubmatch(section)
	if post == nil {
		t.Fatal("README.md does not post to its function")
	}
	out := r.must("sh", "-c", "./shop "+post[1]+" --url https://localhost:"+program.Port(s.Listen))
	if !regexp.MustCompile(`(?m)^result +` + regexp.QuoteMeta(post[2]) + `$`).MatchString(out) {
		t.Errorf("%s\nprints %s\nwant the result %s", post[1], out, post[2])
	}
	r.end(s)
}

// The section "Your own function" of functions.md, executed in a folder outside of this
// repository: its blocks name their files in their first line.
func TestTheRecipeForAFunction(t *testing.T) {
	t.Parallel()
	program.SkipRaced(t)
	program.NeedTool(t, "curl")
	section := sectionOf(t, "functions.md", "Your own function")
	first, second, ok := strings.Cut(section, "**Another version of its table**")
	if !ok {
		t.Fatal("functions.md does not say how a table gets another version")
	}
	r := recipe{t: t, dir: t.TempDir()}
	r.follow(first)
	r.checkout()
	r.must("go", "mod", "tidy")
	r.must("go", "vet", "./...")
	r.must("go", "test", "./order")
	s := r.serve()
	wantAnswer(t, s, "/v1/events", 200, `"state":"done"`, `{"client_id":"anna","message_id":"1","type":"order","payload":{"sku":"tea"}}`, "Prefer: wait=30")
	wantAnswer(t, s, "/v1/events", 400, `#/payload/sku`, `{"client_id":"anna","message_id":"2","type":"order","payload":{}}`)
	r.rows(`SELECT client_id, sku, cents FROM orders`, map[string]any{"client_id": "anna", "sku": "tea", "cents": float64(450)})
	r.end(s)

	r.follow(second)
	r.must("go", "vet", "./...")
	r.must("go", "test", "./order")
	s = r.serve("SHOP_KEY=secret")
	r.rows(`SELECT sku, note, version FROM orders, function_tables WHERE function = 'order'`,
		map[string]any{"sku": "tea", "note": nil, "version": float64(2)})
	body := `{"sku":"coffee"}`
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(body))
	delivery, signature := "Shop-Delivery: d-7", "Shop-Signature: "+hex.EncodeToString(mac.Sum(nil))
	wantAnswer(t, s, "/hooks/shop/bert", 200, `"state":"done"`, body, delivery, signature, "Prefer: wait=30")
	wantAnswer(t, s, "/hooks/shop/bert", 200, `"duplicate":true`, body, delivery, signature)
	wantAnswer(t, s, "/hooks/shop/bert", 401, "signature", body, delivery, "Shop-Signature: 00")
	r.rows(`SELECT client_id, sku FROM orders WHERE message_id = 'd-7'`, map[string]any{"client_id": "bert", "sku": "coffee"})
	r.end(s)
}

// wantAnswer posts a body. The answer must have the status and contain want.
func wantAnswer(t *testing.T, s *program.Server, path string, status int, want, body string, header ...string) {
	t.Helper()
	args := []string{"--data-binary", body}
	for _, field := range header {
		args = append(args, "-H", field)
	}
	if a := s.Curl(t, path, args...); a.Status != status || !strings.Contains(a.Body, want) {
		t.Errorf("POST %s: %d, %s; want %d and %s", path, a.Status, a.Body, status, want)
	}
}

// recipe is a module of one's own in which a page is followed.
type recipe struct {
	t   *testing.T
	dir string
}

// block is a fenced block that names its file.
var block = regexp.MustCompile("(?m)^```(\\w+)\n(?://|--|#) ([\\w./-]+\\.(?:go|sql|yaml|mod))\n((?s:.*?))^```$")

// follow does what the blocks of a text say: a diff adds its lines after the line
// that stands before them, all else is a new file.
func (r *recipe) follow(text string) {
	r.t.Helper()
	blocks := block.FindAllStringSubmatch(text, -1)
	if fences := strings.Count(text, "\n```") / 2; len(blocks) != fences || fences == 0 {
		r.t.Fatalf("%d of %d blocks name their file in the first line", len(blocks), fences)
	}
	for _, b := range blocks {
		path := filepath.Join(r.dir, filepath.FromSlash(b[2]))
		was, err := os.ReadFile(path)
		if (b[1] == "diff") == errors.Is(err, fs.ErrNotExist) {
			r.t.Fatalf("%s: a block of kind %s does not fit: %v", b[2], b[1], err)
		}
		now := b[3]
		if b[1] == "diff" {
			now = r.apply(b[2], string(was), b[3])
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
				r.t.Fatalf("%s has the line %q %d times; the diff needs it once", name, line[1:], strings.Count(text, anchor))
			}
		case '+':
			text = strings.Replace(text, anchor, anchor+line[1:], 1)
			anchor += line[1:]
		}
	}
	return text
}

// checkout has the module find the repository where it is, and the checksums that the
// repository knows, so that the network is not asked.
func (r *recipe) checkout() {
	r.t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		r.t.Fatal(err)
	}
	r.must("go", "mod", "edit", "-replace", "inturn="+root)
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "go.sum"), sums, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *recipe) must(name string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Dir, cmd.Env = r.dir, program.Env("CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// rows reads the file with the program; it must return the one row.
func (r *recipe) rows(query string, want map[string]any) {
	r.t.Helper()
	out := r.must("./shop", "query", "--json", query)
	var got []map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		r.t.Fatalf("%s\n%s%v", query, out, err)
	}
	if len(got) != 1 || !maps.Equal(got[0], want) {
		r.t.Errorf("%s\n got %v\nwant %v", query, got, want)
	}
}

// serve builds the program and runs it.
func (r *recipe) serve(env ...string) *program.Server {
	r.t.Helper()
	r.must("go", "build", "-o", "shop", ".")
	env = append(env, "INTURN_LISTEN=127.0.0.1:0", "INTURN_ADMIN=127.0.0.1:0")
	return program.ServeWith(r.t, filepath.Join(r.dir, "shop"), r.dir, env)
}

// end ends the server as a platform does, in order, and checks its file.
func (r *recipe) end(s *program.Server) {
	r.t.Helper()
	if status := s.Stop(r.t); status != 0 {
		r.t.Errorf("serve ended with status %d", status)
	}
	r.must("./shop", "check")
}
