package api

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// exchange is one request and its answer. It is the ResponseWriter that endpoints
// get, so that what happened is known when the log line is written.
type exchange struct {
	http.ResponseWriter
	requestID string
	body      heldBody

	routed  bool // an endpoint has it; before that only ServeMux's own answers can come
	offers  bool // one event, which a problem refuses
	early   bool // answered before the body has come
	status  int  // answered, 0 for not yet
	problem *problem

	// Header values, here because they would otherwise be allocated one by one.
	idValue, location [1]string

	// For the log line, as far as they are known.
	token, clientID, messageID string
	seq                        int64
	tally                      tally // of a request with many events
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader drops what ServeMux answers by itself, in plain text: the front
// answers a problem in its place.
func (x *exchange) WriteHeader(status int) {
	if !x.routed {
		x.status = status
		return
	}
	if status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if !x.routed {
		return len(b), nil
	}
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Header values that many answers share. net/http only reads them.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
)

// answer writes a whole answer, which should end with a newline for people at a
// terminal. A client that is gone is no error.
func (x *exchange) answer(status int, contentType []string, body []byte) {
	h := x.Header()
	h["Content-Type"] = contentType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	if len(body) > 2048 || x.early { // below, net/http counts by itself, at the end
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	x.WriteHeader(status)
	x.Write(body)
}

// endpoint makes fn a handler for routes behind the front.
func (a *api) endpoint(fn func(*exchange, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.routed = true
		err := a.guard(r)
		if err == nil {
			err = fn(x, r)
		}
		if err != nil {
			a.refuse(x, r, err)
		}
	}
}

// front is around all routes: it gives the request its id, makes ServeMux's own
// answers problems, survives panics, and writes the one log line.
func (a *api) front(routes *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := a.Now()
		x := &exchange{ResponseWriter: w, requestID: requestID(r.Header)}
		x.body = heldBody{ReadCloser: r.Body, held: &a.held, max: a.MaxEvent}
		x.idValue[0] = x.requestID
		w.Header()["X-Request-Id"] = x.idValue[:]
		defer func() {
			v := recover()
			x.body.release()
			if v != nil {
				a.panicked(x, r, v)
			}
			a.logRequest(x, r, start)
			if v != nil && x.problem == nil {
				panic(http.ErrAbortHandler) // half an answer: the client must see that it is cut
			}
		}()
		routes.ServeHTTP(x, r)
		if !x.routed {
			a.unrouted(x, r)
		}
	})
}

// unrouted answers a request that no route has. ServeMux would redirect paths that
// could be cleaned; paths are exact here, because a redirect unescapes the ids in them.
func (a *api) unrouted(x *exchange, r *http.Request) {
	muxStatus := x.status
	x.routed, x.status = true, 0
	x.Header().Del("Location")
	if muxStatus == http.StatusMethodNotAllowed {
		a.refuse(x, r, methodNotAllowed.because("%s is not a method of this path; Allow lists those that are", cut(r.Method, 32)))
		return
	}
	a.refuse(x, r, notFound.because("there is nothing at this path"))
}

// panicked records a panic. Where nothing was answered yet the client gets a 500.
func (a *api) panicked(x *exchange, r *http.Request, v any) {
	if v == http.ErrAbortHandler {
		return
	}
	a.Log.LogAttrs(r.Context(), slog.LevelError, "panic in a handler", slog.String("request_id", x.requestID),
		slog.String("client_id", cut(x.clientID, 256)), slog.String("message_id", cut(x.messageID, 256)), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	if x.status == 0 || !x.routed {
		x.routed = true
		a.refuse(x, r, internal.because("the cause is in the server's log, under this request_id"))
	}
}

// logRequest writes the access line: debug for what went well, info for refusals,
// warn where the server is not able, error for its own faults. Routes are logged in
// place of paths, because the path of an HTTP function may hold a secret.
func (a *api) logRequest(x *exchange, r *http.Request, start time.Time) {
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
	if !a.Log.Enabled(ctx, level) {
		return
	}
	remote, scheme := a.Proxies.client(r)
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("request_id", x.requestID), slog.String("method", cut(r.Method, 32)),
		slog.String("route", r.Pattern), slog.Int("status", x.status),
		slog.Duration("took", a.Now().Sub(start)), slog.String("remote", remote))
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
	a.Log.LogAttrs(ctx, level, "request", attrs...)
}
