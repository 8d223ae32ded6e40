package serve

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"inturn/internal/program"
)

// The token commands and a server that runs on the same file.
func TestTokenCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "tokens.json")
	env := []string{"INTURN_TOKEN_FILE=" + file}
	token := func(args ...string) string {
		t.Helper()
		r := program.Run(t, dir, env, append([]string{"token"}, args...)...)
		if r.Status != 0 {
			t.Fatalf("token %v: %s", args, r.ErrOut)
		}
		return strings.TrimSpace(r.Out)
	}
	shop := token("new", "shop", "--client-id", "a")
	boss := token("new", "boss", "--scope", "read", "--scope", "ingest")
	if want := "name  scopes       client_ids\nshop  ingest       a\nboss  read ingest  all"; token("list") != want {
		t.Errorf("list:\n%s\nwant\n%s", token("list"), want)
	}
	if got := token("list", "--json"); strings.Contains(got, "hash") || !strings.Contains(got, `{"name":"shop","scopes":["ingest"],"client_ids":["a"]}`) {
		t.Errorf("list --json: %s", got)
	}
	if r := program.Run(t, dir, env, "token", "new", "shop"); r.Status != 1 || !strings.Contains(r.ErrOut, "already") || !strings.Contains(r.ErrOut, "\nhint: choose another name") || r.Out != "" {
		t.Errorf("a second shop: %d %s%s", r.Status, r.Out, r.ErrOut)
	}
	if r := program.Run(t, dir, env, "token", "revoke", "shpo"); r.Status != 1 || !strings.Contains(r.ErrOut, "no token with this name\nhint: `inturn token list`") {
		t.Errorf("revoke of an unknown name: %+v", r)
	}
	if r := program.Run(t, t.TempDir(), nil, "token", "list"); r.Status != 1 || !strings.Contains(r.ErrOut, "\nhint: name the file with --token-file") {
		t.Errorf("list without a file: %+v", r)
	}
	if r := program.Run(t, dir, env, "token", "revoke", "nobody"); r.Status != 1 {
		t.Errorf("revoke nobody: %d %s", r.Status, r.ErrOut)
	}

	s := program.Serve(t, dir, env)
	const event = `{"client_id":"a","message_id":"1","payload":{"phone":"+70000000001","text":"secret text"}}`
	send := func(token string) int {
		t.Helper()
		return s.Post(t, event, "-H", "Authorization: Bearer "+token).Status
	}
	if got := send(shop); got != 202 {
		t.Errorf("shop: %d", got)
	}
	if got := s.Curl(t, "/v1/events", "-H", "Authorization: Bearer "+shop).Status; got != 403 {
		t.Errorf("shop reads: %d", got)
	}
	if got := send("guess"); got != 401 {
		t.Errorf("a guess: %d", got)
	}
	token("revoke", "shop")
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Wait(t, "tokens reloaded")
	if got := send(shop); got != 401 {
		t.Errorf("shop after revoke: %d", got)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Wait(t, "the token file is not good: the tokens stay as they were")
	if got := send(boss); got != 202 && got != 200 {
		t.Errorf("boss with a broken file: %d", got)
	}
	for _, secret := range []string{shop, boss, "guess", "secret text"} {
		if strings.Contains(s.Logged(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("the server ended with %d", status)
	}
	if r := program.Run(t, dir, env, "serve"); r.Status != 1 || !strings.Contains(r.ErrOut, "token file") {
		t.Errorf("serve with a broken file: %d %s", r.Status, r.ErrOut)
	}
}
