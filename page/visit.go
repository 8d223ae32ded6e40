package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// visit is one request of a person.
type visit struct {
	page  *Page
	w     http.ResponseWriter
	r     *http.Request
	token string // "" for none
	info  tokenInfo
}

// tokenInfo is what the API says of a token.
type tokenInfo struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids"`
}

// May reports whether the token has a scope.
func (t tokenInfo) May(scope string) bool { return slices.Contains(t.Scopes, scope) }

// all reports whether the token has these scopes, for all accounts.
func (t tokenInfo) all(scopes ...string) bool {
	for _, s := range scopes {
		if !t.May(s) {
			return false
		}
	}
	return len(t.ClientIDs) == 0
}

// problem is an error that the API answered.
type problem struct {
	Status    int    `json:"status"`
	Type      string `json:"type"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
	Seq       int64  `json:"seq"`
}

func (p *problem) Error() string { return p.Title + ": " + p.Detail }

// maxAnswer bounds an answer of the API, in bytes.
const maxAnswer = 16 << 20

var errLarge = errors.New("the answer is too large for a page: ask for less")

// answer is the ResponseWriter that the API writes to.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > maxAnswer {
		return 0, errLarge
	}
	return a.body.Write(p)
}

// ask sends a request to the API and decodes its answer into result. Errors: *problem for one
// that the API answered.
func (v *visit) ask(method, path string, body any, key string, result any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(v.r.Context(), method, "http://localhost"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.RemoteAddr = v.r.RemoteAddr
	if id := v.w.Header().Get("X-Request-Id"); id != "" {
		r.Header.Set("X-Request-ID", id)
	}
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", strconv.Quote(key))
	}
	a := &answer{header: http.Header{}}
	v.page.o.API.ServeHTTP(a, r)
	if a.status < 300 {
		if err := json.Unmarshal(a.body.Bytes(), result); err != nil {
			return fmt.Errorf("%s %s: %w", method, r.URL.Path, err)
		}
		return nil
	}
	p := &problem{Status: a.status, Title: http.StatusText(a.status)}
	_ = json.Unmarshal(a.body.Bytes(), p) // the status alone says enough
	return p
}

// get asks for path with the parameters that are not empty.
func (v *visit) get(path string, query url.Values, result any) error {
	for name, values := range query {
		if len(values) == 0 || values[0] == "" {
			query.Del(name)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return v.ask(http.MethodGet, path, nil, "", result)
}

// accountPath and eventPath are paths of the API.
func accountPath(clientID string) string { return "/v1/accounts/" + url.PathEscape(clientID) }

func eventPath(clientID, messageID string) string {
	return "/v1/events/" + url.PathEscape(clientID) + "/" + url.PathEscape(messageID)
}

// admit learns what the token allows. A *problem with the status 401 asks for a token.
func (v *visit) admit() error { return v.get("/v1/token", nil, &v.info) }

// fail shows err. Where a token is wanted it asks for one.
func (v *visit) fail(err error) {
	p, ok := errors.AsType[*problem](err)
	switch {
	case !ok:
		v.page.o.Log.LogAttrs(v.r.Context(), slog.LevelError, "the page failed", slog.String("path", v.r.URL.Path), slog.String("error", err.Error()))
		p = &problem{Status: http.StatusInternalServerError, Title: "Something went wrong here", Detail: "The cause is in the server's log."}
	case p.Status == http.StatusUnauthorized:
		said := ""
		if v.token != "" {
			said = "The token is not known any more."
			v.page.sessions.end(v.w, v.r)
		}
		v.askForToken(said)
		return
	}
	if err := v.show(p.Status, "problem", p.Title, p); err != nil {
		http.Error(v.w, p.Title, p.Status)
	}
}

// askForToken shows the form that asks for a token; said is what was wrong with the last one.
func (v *visit) askForToken(said string) {
	next := "/"
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/live" {
		next = v.r.URL.RequestURI()
	} else if given := v.r.PostFormValue("next"); given != "" {
		next = given
	}
	data := struct{ Next, Said string }{local(next), said}
	if err := v.show(http.StatusUnauthorized, "login", "Token", data); err != nil {
		http.Error(v.w, "token wanted", http.StatusUnauthorized)
	}
}

// local returns a path of this server, "/" for what is none.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
