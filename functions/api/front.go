package api

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// serve makes e a handler for routes behind the front, for requests that guard lets pass.
func (f *front) serve(e endpoint) http.HandlerFunc {
	return f.serveAll(func(x *exchange, r *http.Request) error {
		if stopped(f.closing) {
			return shuttingDown.withDetail("this server is ending: ask the next one")
		}
		if err := f.guard(r); err != nil {
			return err
		}
		return e(x, r)
	})
}

// stopped reports whether shutdown has begun.
func stopped(stopping <-chan struct{}) bool {
	select {
	case <-stopping:
		return true
	default:
		return false
	}
}

// serveAll is serve for requests to any name and from any page.
func (f *front) serveAll(e endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.routed = true
		if r.URL.RawPath != "" {
			showSlashes(r)
		}
		if err := e(x, r); err != nil {
			f.refuse(x, r, err)
		}
	}
}

// front is around all routes of an address: it gives each request its id, checks its
// Host and Origin, makes ServeMux's own answers and every error problems, survives
// panics, and writes the one log line.
type front struct {
	log       *slog.Logger
	observer  Observer
	now       func() time.Time
	proxies   Proxies
	hosts     *hostSet // nil: any
	hostsHint string   // the flag that adds one
	origins   http.CrossOriginProtection
	maxEvent  int64
	closing   <-chan struct{} // closed when requests are refused
	bodies    atomic.Int64    // bytes of bodies that are in memory, at most about maxHeld
	answers   *answerBudget
	drainRate func() (runnable int, perSecond float64) // for Retry-After where the backlog is full
}

func newFront(o Options) *front {
	f := &front{log: o.Log, observer: o.Observer, now: o.Now, proxies: o.Proxies, hosts: publicHosts(o.Hosts), hostsHint: "--domain adds one", maxEvent: o.MaxEvent, closing: o.Closing}
	f.answers = newAnswerBudget(o.MaxAnswers)
	if o.Store != nil {
		f.drainRate = o.Store.DrainRate
	}
	return f
}

// handler serves the routes of the moment behind the front.
func (f *front) handler(routes func() *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := f.now()
		x := &exchange{ResponseWriter: w, requestID: requestID(r.Header), answers: f.answers}
		x.body = heldBody{ReadCloser: r.Body, held: &f.bodies, max: f.maxEvent}
		x.idValue[0] = x.requestID
		w.Header()["X-Request-Id"] = x.idValue[:]
		defer func() {
			v := recover()
			if x.body.taken > 0 {
				x.body.release()
			}
			if x.held > 0 {
				x.answers.release(x.held)
			}
			if v != nil {
				f.panicked(x, r, v)
			}
			f.logRequest(x, r, start)
			if v != nil && x.problem == nil {
				panic(http.ErrAbortHandler) // half an answer: the client must see that it is cut
			}
		}()
		if r.URL.RawPath != "" {
			r = hideSlashes(r)
		}
		routes().ServeHTTP(x, r)
		if !x.routed {
			f.unrouted(x, r)
		}
	})
}

// requestID takes the sender's X-Request-ID if it is one that can stand in a log
// and a header, else it makes one of 130 random bits.
func requestID(h http.Header) string {
	if id := h.Get("X-Request-Id"); validRequestID(id) {
		return id
	}
	return rand.Text()
}

func validRequestID(id string) bool {
	if len(id) < 1 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if !alphanumeric(id[i]) && strings.IndexByte("-_.:/+=@~", id[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// unrouted answers a request that no route has. ServeMux would redirect paths that
// could be cleaned; paths are exact here, because a redirect unescapes the ids in a path.
func (f *front) unrouted(x *exchange, r *http.Request) {
	muxStatus := x.status
	x.routed, x.status = true, 0
	x.Header().Del("Location")
	if muxStatus == http.StatusMethodNotAllowed {
		f.refuse(x, r, methodNotAllowed.withDetail("%s is not a method of this path; Allow lists those that are", cut(r.Method, 32)))
		return
	}
	f.refuse(x, r, notFound.withDetail("there is nothing at this path"))
}

// panicked records a panic. Where nothing was answered yet the client gets a 500.
func (f *front) panicked(x *exchange, r *http.Request, v any) {
	if v == http.ErrAbortHandler {
		return
	}
	f.log.LogAttrs(r.Context(), slog.LevelError, "panic in a handler", slog.String("request_id", x.requestID),
		slog.String("client_id", cut(x.clientID, 256)), slog.String("message_id", cut(x.messageID, 256)), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	if x.status == 0 || !x.routed {
		x.routed = true
		f.refuse(x, r, internal.withDetail("the cause is in the server's log, under this request_id"))
	}
}

// logRequest writes the access line: debug for what went well, info for refusals,
// warn where the server is not able, error for its own faults. Routes are logged in
// place of paths, because the path of an HTTP function may hold a secret.
func (f *front) logRequest(x *exchange, r *http.Request, start time.Time) {
	level, status := slog.LevelDebug, x.status
	if x.problem != nil { // with many events it is that of one of them
		status = max(status, x.problem.status)
	}
	switch {
	case status == http.StatusInternalServerError:
		level = slog.LevelError
	case status >= 500 && r.Context().Err() == nil:
		level = slog.LevelWarn
	case status >= 400:
		level = slog.LevelInfo
	}
	ctx := r.Context()
	if !f.log.Enabled(ctx, level) {
		return
	}
	remote, scheme := f.proxies.client(r)
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("request_id", x.requestID), slog.String("method", cut(r.Method, 32)),
		slog.String("route", r.Pattern), slog.Int("status", x.status),
		slog.Duration("took", f.now().Sub(start)), slog.String("remote", remote))
	if scheme != "" {
		attrs = append(attrs, slog.String("scheme", scheme))
	}
	if x.token != "" {
		attrs = append(attrs, slog.String("token_name", x.token))
	}
	if x.clientID != "" {
		attrs = append(attrs, slog.String("client_id", cut(x.clientID, 256)), slog.String("message_id", cut(x.messageID, 256)))
	}
	if x.seq != 0 {
		attrs = append(attrs, slog.Int64("seq", x.seq))
	}
	if t := x.tally; t != (tally{}) {
		attrs = append(attrs, slog.Int("accepted", t.accepted), slog.Int("duplicates", t.duplicates), slog.Int("refused", t.refused))
	}
	if p := x.problem; p != nil {
		attrs = append(attrs, slog.String("problem", p.name))
		if p.cause != nil {
			attrs = append(attrs, slog.String("cause", cut(p.cause.Error(), 1000)))
		}
	}
	f.log.LogAttrs(ctx, level, "request", attrs...)
}
