// Package page is the web page at the admin address: how the server stands, accounts and events,
// what operators do, and SQL that reads. It is rendered here, and can be read without a script.
//
// The page is a client of the API like any other. It asks the public address's handler, in this
// process, with the token of the person before it; so what a token may see and do, the bounds,
// the audit and the errors are the API's, and stand nowhere twice.
package page

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"time"
)

// Options of New. API is needed.
type Options struct {
	API    http.Handler // of the public address
	Tokens bool         // the API asks for tokens
	Log    *slog.Logger // nil: nothing is logged

	// SQL runs one statement that reads and returns up to limit rows; it bounds the time. Nil:
	// the view isn't there.
	SQL func(ctx context.Context, text string, limit int) (Rows, error)

	// Counters returns how many events were accepted, done and set aside since the process
	// began. Nil: there are no plots.
	Counters func() Counters

	// Stopping is closed when the server ends. Nil: never.
	Stopping <-chan struct{}

	Now func() time.Time // nil: time.Now
}

// maxViews bounds the views that are made at once: each may hold some megabytes of payloads.
const maxViews = 8

// Rows is the answer to a statement. Values are int64, float64, string, []byte or nil.
type Rows struct {
	Columns []string
	Rows    [][]any
	More    bool // there are more than were returned
}

// Page answers the requests for the page. Run keeps its plots.
type Page struct {
	o        Options
	mux      *http.ServeMux
	patterns []string
	views    map[string]*template.Template
	sessions *sessions
	history  *history
	fresh    *cache
	rooms    chan struct{} // of views that are made at once
}

// files are the templates, and what browsers load with a page.
//
//go:embed templates static
var files embed.FS

// New returns the page.
func New(o Options) *Page {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Page{o: o, mux: http.NewServeMux(), views: parse(), sessions: newSessions(o.Now), history: &history{counters: o.Counters}, fresh: newCache(o.Now), rooms: make(chan struct{}, maxViews)}
	p.handle("GET /{$}", p.overview)
	p.handle("GET /accounts", p.accounts)
	p.handle("GET /account", p.account)
	p.handle("GET /events", p.events)
	p.handle("GET /event", p.event)
	p.handle("GET /dead", p.dead)
	p.handle("GET /audit", p.audit)
	p.handle("GET /live", p.live)
	p.handle("POST /act", p.act)
	if o.SQL != nil {
		p.handle("GET /sql", p.sql)
		p.handle("POST /sql", p.sql)
	}
	p.plain("POST /login", p.login)
	p.plain("POST /logout", p.logout)
	static, err := fs.Sub(files, "static")
	if err != nil { // it is embedded
		panic(err)
	}
	server := http.StripPrefix("/static/", http.FileServerFS(static))
	p.plain("GET /static/{file}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		server.ServeHTTP(w, r)
	})
	return p
}

// Patterns returns those of the requests that ServeHTTP answers.
func (p *Page) Patterns() []string { return p.patterns }

// ServeHTTP answers one request. Its caller refuses those that a browser makes for another
// site's page.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Page) plain(pattern string, h http.HandlerFunc) {
	p.patterns = append(p.patterns, pattern)
	p.mux.HandleFunc(pattern, h)
}

// handle serves pattern by view, for a token that the API knows.
func (p *Page) handle(pattern string, view func(*visit) error) {
	p.plain(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &visit{page: p, w: w, r: r, token: p.tokenOf(r)}
		if r.URL.Path != "/live" { // which stays, and holds nothing large
			select {
			case p.rooms <- struct{}{}:
				defer func() { <-p.rooms }()
			case <-r.Context().Done():
				return
			}
		}
		if err := v.admit(); err != nil {
			v.fail(err)
			return
		}
		if err := view(v); err != nil {
			v.fail(err)
		}
	})
}

// headers are on every page. Scripts and styles are files of this server alone.
var headers = map[string]string{
	"Content-Type": "text/html; charset=utf-8",
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "same-origin", // with no-referrer a form would have no origin to check
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
}

// layout is what stands on every page around its view.
type layout struct {
	Title, View string
	Token       tokenInfo
	Tokens, SQL bool
	Now         time.Time
	Data        any
}

// show renders a view.
func (v *visit) show(status int, view, title string, data any) error {
	var b bytes.Buffer
	l := layout{Title: title, View: view, Token: v.info, Tokens: v.page.o.Tokens, SQL: v.page.o.SQL != nil && v.info.all("read", "operate"), Now: v.page.o.Now(), Data: data}
	if err := v.page.views[view].ExecuteTemplate(&b, "layout", l); err != nil {
		return fmt.Errorf("render %s: %w", view, err)
	}
	for name, value := range headers {
		v.w.Header().Set(name, value)
	}
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // its reader is gone if it fails
	return nil
}
