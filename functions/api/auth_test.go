package api

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokens(t *testing.T) {
	entry := func(name, scopes, more string) string {
		return fmt.Sprintf(`{"name":%q,"hash":%q,"scopes":[%s]%s}`, name, HashToken("secret-"+name), scopes, more)
	}
	tokens, err := LoadTokens(tokenFile(t, `{"tokens":[`+strings.Join([]string{
		entry("ingest", `"ingest"`, ""), entry("read", `"read"`, ""), entry("operate", `"operate"`, ""),
		entry("both", `"ingest","read"`, ""), entry("only-a", `"ingest","read"`, `,"client_ids":["a","b"]`),
	}, ",")+"]}\n"), " secret-env\n")
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Tokens: tokens})
	other := strings.Replace(goodEvent, `"a"`, `"c"`, 1)
	const challenge = `Bearer realm="inturn"`
	tests := []struct {
		authorization, method, target, body string
		status                              int
		challenge                           string
	}{
		{"Bearer secret-ingest", "POST", "/v1/events", goodEvent, 202, ""},
		{"bearer  secret-env", "POST", "/v1/events", goodEvent, 202, ""},
		{"Bearer secret-only-a", "POST", "/v1/events", goodEvent, 202, ""},
		{"Bearer secret-both", "POST", "/v1/events", other, 202, ""},
		{"Bearer secret-only-a", "POST", "/v1/events", other, 403, ""},
		{"Bearer secret-read", "POST", "/v1/events", goodEvent, 403, challenge + `, error="insufficient_scope", scope="ingest"`},
		{"Bearer secret-operate", "POST", "/v1/events", goodEvent, 403, challenge + `, error="insufficient_scope", scope="ingest"`},
		{"", "POST", "/v1/events", goodEvent, 401, challenge},
		{"Basic c2VjcmV0LWVudg==", "POST", "/v1/events", goodEvent, 401, challenge},
		{"secret-env", "POST", "/v1/events", goodEvent, 401, challenge},
		{"Bearer", "POST", "/v1/events", goodEvent, 401, challenge}, {"Bearer ", "POST", "/v1/events", goodEvent, 401, challenge},
		{"Bearer secret-en", "POST", "/v1/events", goodEvent, 401, challenge + `, error="invalid_token"`},
		{"Bearer secret-env x", "POST", "/v1/events", goodEvent, 401, challenge + `, error="invalid_token"`},
		{"Bearer " + HashToken("secret-env"), "POST", "/v1/events", goodEvent, 401, challenge + `, error="invalid_token"`},
		{"Bearer secret-ingest", "GET", "/v1/events/a/1", "", 403, challenge + `, error="insufficient_scope", scope="read"`},
		{"Bearer secret-ingest", "GET", "/v1/events", "", 403, challenge + `, error="insufficient_scope", scope="read"`},
		{"Bearer secret-read", "GET", "/v1/events", "", 200, ""}, {"Bearer secret-read", "GET", "/v1/events/c/1", "", 200, ""},
		{"Bearer secret-only-a", "GET", "/v1/events/a/1", "", 200, ""}, {"Bearer secret-only-a", "GET", "/v1/events/c/1", "", 403, ""},
		{"Bearer secret-only-a", "GET", "/v1/events?client_id=a", "", 200, ""}, {"Bearer secret-only-a", "GET", "/v1/events?client_id=c", "", 403, ""},
		{"Bearer secret-only-a", "GET", "/v1/events", "", 403, ""},
		{"", "GET", "/v1/events", "", 401, challenge}, {"", "GET", "/v1/events/a/1", "", 401, challenge},
	}
	for _, tt := range tests {
		var headers []string
		if tt.authorization != "" {
			headers = []string{"Authorization", tt.authorization}
		}
		w := request(h, tt.method, tt.target, tt.body, headers...)
		name := fmt.Sprintf("%s %s with %q", tt.method, tt.target, tt.authorization)
		if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: %d, challenge %s", name, w.Code, w.Header().Get("WWW-Authenticate"))
			continue
		}
		switch tt.status {
		case 401:
			wantProblem(t, w, 401, "unauthorized")
		case 403:
			wantProblem(t, w, 403, "forbidden")
		}
	}
	w := request(h, "GET", "/v1/events", "", "Authorization", "Bearer secret-env", "Authorization", "Bearer secret-env")
	wantProblem(t, w, 401, "unauthorized")
}

func TestTokenFiles(t *testing.T) {
	if tokens, err := LoadTokens("", " \n"); tokens != nil || err != nil {
		t.Errorf("neither file nor env: %v, %v", tokens, err)
	}
	tokens, err := LoadTokens(tokenFile(t, `{"tokens":[]}`), "")
	if tokens == nil || err != nil {
		t.Fatalf("a file without tokens: %v, %v", tokens, err)
	}
	wantProblem(t, request(newAPI(t, Options{Tokens: tokens}), "POST", "/v1/events", goodEvent, "Authorization", "Bearer x"), 401, "unauthorized")

	hash := HashToken("x")
	one := `{"name":"n","hash":"` + hash + `","scopes":["read"]}`
	for text, says := range map[string]string{
		``: "EOF", `[]`: "array", `{"tokens":[],"more":1}`: "more", `{"tokens":[` + one + `]} x`: "after",
		`{"tokens":[{"name":"n","hash":"` + hash + `","scopes":["read"],"what":1}]}`:          "what",
		`{"tokens":[{"name":"","hash":"` + hash + `","scopes":["read"]}]}`:                    "name:",
		`{"tokens":[{"name":"n","hash":"` + hash[1:] + `","scopes":["read"]}]}`:               "hash:",
		`{"tokens":[{"name":"n","hash":"` + strings.ToUpper(hash) + `","scopes":["read"]}]}`:  "hash:",
		`{"tokens":[{"name":"n","hash":"` + hash + `","scopes":[]}]}`:                         "scopes:",
		`{"tokens":[{"name":"n","hash":"` + hash + `","scopes":["write"]}]}`:                  `"write"`,
		`{"tokens":[{"name":"n","hash":"` + hash + `","scopes":["read"],"client_ids":[]}]}`:   "client_ids:",
		`{"tokens":[{"name":"n","hash":"` + hash + `","scopes":["read"],"client_ids":[""]}]}`: "client_ids:",
		`{"tokens":[` + one + `,` + one + `]}`:                                                "token 2",
		`{"tokens":[` + one + `,` + strings.Replace(one, `"n"`, `"m"`, 1) + `]}`:              "same token",
		strings.Repeat(" ", maxTokenFile+1):                                                   "larger",
	} {
		if _, err := LoadTokens(tokenFile(t, text), ""); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), hash) {
			t.Errorf("%.100s: %v; want %q", text, err, says)
		}
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none"), ""); !os.IsNotExist(err) && (err == nil || !strings.Contains(err.Error(), "none")) {
		t.Errorf("no file: %v", err)
	}
	if _, err := LoadTokens(tokenFile(t, `{"tokens":[`+one+`]}`), "x"); err == nil || !strings.Contains(err.Error(), "INTURN_TOKEN") {
		t.Errorf("the same token in both: %v", err)
	}
	for _, env := range []string{"a b", "a\nb", "ü"} {
		if _, err := LoadTokens("", env); err == nil || strings.Contains(err.Error(), env) {
			t.Errorf("%q: %v", env, err)
		}
	}
}
