package page

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of sessions.
const (
	maxSessions = 1000
	sessionTime = 12 * time.Hour
)

// sessions are the tokens that people have given, each by a random name that their browser
// keeps in a cookie. The cookie is no token: at the public address, and after the end of this
// process, it opens nothing. A name is made here, never taken from a request.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	byID map[[sha256.Size]byte]session // by the hash of the name
}

type session struct {
	token string
	host  string // the only one that the session is for, as in the Host header
	until time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byID: map[[sha256.Size]byte]session{}}
}

// cookieName differs by port: browsers send cookies to all ports of a host.
func cookieName(r *http.Request) string {
	_, port, _ := strings.Cut(r.Host[strings.LastIndexByte(r.Host, ']')+1:], ":")
	return "inturn_" + strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, port)
}

// begin makes a session for a token that the API knows.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, token string) {
	name := rand.Text() + rand.Text()
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest [sha256.Size]byte
	for id, one := range s.byID {
		if !one.until.After(now) {
			delete(s.byID, id)
		} else if first, ok := s.byID[oldest]; !ok || one.until.Before(first.until) {
			oldest = id
		}
	}
	if len(s.byID) >= maxSessions {
		delete(s.byID, oldest)
	}
	s.byID[sha256.Sum256([]byte(name))] = session{token: token, host: r.Host, until: now.Add(sessionTime)}
	s.set(w, r, name, int(sessionTime/time.Second))
}

func (s *sessions) set(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

// find returns the token of a request's session, "" for none.
func (s *sessions) find(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.byID[sha256.Sum256([]byte(c.Value))]
	if !ok || one.host != r.Host || !one.until.After(s.now()) {
		return ""
	}
	return one.token
}

// end ends a request's session.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		s.mu.Lock()
		delete(s.byID, sha256.Sum256([]byte(c.Value)))
		s.mu.Unlock()
	}
	s.set(w, r, "", -1)
}

// tokenOf returns the token of a request: that of its header, as scripts send it, or of its
// session; "" for none.
func (p *Page) tokenOf(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if !p.o.Tokens {
		return ""
	}
	return p.sessions.find(r)
}

// maxForm bounds what a form sends, in bytes.
const maxForm = 64 << 10

// login is POST /login.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	v := &visit{page: p, w: w, r: r, token: strings.TrimSpace(r.PostFormValue("token"))}
	if v.token == "" || len(v.token) > 1024 || strings.ContainsFunc(v.token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		v.token = ""
		v.askForToken("That is no token: give it as `inturn token new` printed it.")
		return
	}
	if err := v.admit(); err != nil {
		v.token = ""
		v.askForToken("This token is not known.")
		return
	}
	if p.o.Tokens {
		p.sessions.end(w, r)
		w.Header().Del("Set-Cookie")
		p.sessions.begin(w, r, v.token)
	}
	http.Redirect(w, r, local(r.PostFormValue("next")), http.StatusSeeOther)
}

// logout is POST /logout.
func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	p.sessions.end(w, r)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
