package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestEditTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	if _, err := ListTokens(path); !os.IsNotExist(err) && err == nil {
		t.Error("a file that isn't there is listed")
	}
	shop, err := NewToken(path, TokenInfo{Name: "shop", Scopes: []string{"ingest"}, ClientIDs: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	boss, err := NewToken(path, TokenInfo{Name: "boss", Scopes: []string{"read", "operate"}})
	if err != nil || boss == shop || len(boss) < 40 || strings.Trim(boss, visible) != "" {
		t.Fatalf("%q, %v", boss, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Contains(text, []byte(shop)) || bytes.Contains(text, []byte(boss)) {
		t.Errorf("the file holds a token: %s, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	list, err := ListTokens(path)
	if want := `[{shop [ingest] [a]} {boss [read operate] []}]`; err != nil || fmt.Sprint(list) != want {
		t.Errorf("%v, %v", list, err)
	}
	tokens, err := LoadTokens(path, "")
	if err != nil || tokens.find(shop).name != "shop" || tokens.find(boss).scopes != scopeRead|scopeOperate {
		t.Errorf("%v", err)
	}
	for name, info := range map[string]TokenInfo{
		"the same name": {Name: "shop", Scopes: []string{"read"}}, "no name": {Scopes: []string{"read"}},
		"no scope": {Name: "x"}, "no such scope": {Name: "x", Scopes: []string{"write"}},
		"an empty client_id": {Name: "x", Scopes: []string{"read"}, ClientIDs: []string{""}},
	} {
		if secret, err := NewToken(path, info); err == nil || secret != "" {
			t.Errorf("%s is taken", name)
		}
	}
	if err := RevokeToken(path, "nobody"); err == nil {
		t.Error("nobody is revoked")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, text) {
		t.Errorf("a refused edit changed the file: %s, %v", after, err)
	}
	if err := RevokeToken(path, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err != nil || tokens.find(shop) != nil || tokens.find(boss) == nil {
		t.Errorf("after revoke: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestEditTokensRefused: a refused edit leaves no trace; neither does one whose lock
// another user has turned into a link.
func TestEditTokensRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewToken(filepath.Join(dir, "new", "tokens.json"), TokenInfo{Name: "x"}); err == nil {
		t.Error("a token without scopes is made")
	}
	if err := RevokeToken(filepath.Join(dir, "new", "tokens.json"), "x"); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoke without a file: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("a text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewToken(text, TokenInfo{Name: "x", Scopes: []string{"read"}}); err == nil {
		t.Error("a text is taken for a token file")
	}
	if err := os.Symlink("text", filepath.Join(dir, "tokens.json.lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewToken(filepath.Join(dir, "tokens.json"), TokenInfo{Name: "x", Scopes: []string{"read"}}); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a lock that is a link: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if got, err := os.ReadFile(text); err != nil || string(got) != "a text" {
		t.Errorf("the text is now %q, %v", got, err)
	}
}

// TestEditTokensPlaces: folders are made for this user alone, and a link is followed.
func TestEditTokensPlaces(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "a", "b", "tokens.json")
	if _, err := NewToken(real, TokenInfo{Name: "x", Scopes: []string{"read"}}); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Join(dir, "a"), filepath.Dir(real)} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want mode 0700", folder, info, err)
		}
	}
	link := filepath.Join(dir, "link.json")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if _, err := NewToken(link, TokenInfo{Name: "y", Scopes: []string{"read"}}); err != nil {
		t.Fatal(err)
	}
	if list, err := ListTokens(real); err != nil || len(list) != 2 {
		t.Errorf("behind the link: %v, %v", list, err)
	}
}

// Edits at the same time don't lose each other, and keep the secrets.
func TestEditTokensTogether(t *testing.T) {
	path := tokenFile(t, `{"tokens":[],"secrets":{"a":["whsec_`+strings.Repeat("MTIz", 8)+`"]}}`)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := NewToken(path, TokenInfo{Name: fmt.Sprint(i), Scopes: []string{"read"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	tokens, err := LoadTokens(path, "")
	if err != nil || len(tokens.set.Load().list) != 20 || len(tokens.Secrets("a")) != 1 || tokens.Secrets("b") != nil {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestTokenSecrets(t *testing.T) {
	good := `"whsec_` + strings.Repeat("MTIz", 8) + `"`
	for _, text := range []string{
		`{"a":[]}`, `{"":[` + good + `]}`, `{"a":["MTIzMTIzMTIzMTIzMTIzMTIzMTIzMTIz"]}`, `{"a":["whsec_MTIz"]}`, `{"a":["whsec_!"]}`,
		`{"a":[` + strings.Repeat(good+",", maxSecrets) + good + `]}`, `{"a":[` + good + `],"a":[` + good + `]}`,
	} {
		if _, err := LoadTokens(tokenFile(t, `{"tokens":[],"secrets":`+text+`}`), ""); err == nil || strings.Contains(err.Error(), "MTIz") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if (*Tokens)(nil).Secrets("a") != nil {
		t.Error("without tokens there are secrets")
	}
}

// lines tells of each line that is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) { l <- string(p); return len(p), nil }

func (l lines) wait(t *testing.T, want string) {
	t.Helper()
	select {
	case line := <-l:
		if !strings.Contains(line, want) {
			t.Errorf("logged %s, not %s", line, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s is not logged", want)
	}
}

// A changed file is taken; a bad one, or none, changes nothing and is told.
func TestWatchTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	first, err := NewToken(path, TokenInfo{Name: "first", Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(path, "secret-env")
	if err != nil {
		t.Fatal(err)
	}
	logged := make(lines, 10)
	ctx, cancel := context.WithCancel(t.Context())
	tick, hup, done := make(chan time.Time), make(chan os.Signal), make(chan struct{})
	go func() {
		defer close(done)
		tokens.watch(ctx, hup, tick, slog.New(slog.NewTextHandler(logged, nil)))
	}()
	tick <- time.Now()
	second, err := NewToken(path, TokenInfo{Name: "second", Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	if tokens.find(second) != nil {
		t.Error("the new token is good before the file is read")
	}
	tick <- time.Now()
	logged.wait(t, "tokens=3")
	if tokens.find(first) == nil || tokens.find(second) == nil || tokens.find("secret-env") == nil {
		t.Error("the new file is not taken")
	}
	if err := RevokeToken(path, "first"); err != nil {
		t.Fatal(err)
	}
	hup <- syscall.SIGHUP
	logged.wait(t, "tokens=2")
	if tokens.find(first) != nil {
		t.Error("a revoked token is good")
	}
	if err := os.WriteFile(path, []byte(`{"tokens":[`), 0o600); err != nil {
		t.Fatal(err)
	}
	tick <- time.Now()
	logged.wait(t, "stay as they were")
	tick <- time.Now() // said once, not at each look
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	tick <- time.Now()
	logged.wait(t, "stay as they were")
	if tokens.find(second) == nil || tokens.find("secret-env") == nil || tokens.find(first) != nil {
		t.Error("a bad file changed the tokens")
	}
	cancel()
	<-done
	if len(logged) > 0 {
		t.Errorf("also logged: %s", <-logged)
	}
}
