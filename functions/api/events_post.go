package api

import (
	"errors"
	"mime"
	"net/http"
	"strings"

	"inturn/functions"
)

// postEvent is POST /v1/events: one event in, one receipt out.
func (a *api) postEvent(x *exchange, r *http.Request) error {
	who, err := a.authorize(x, r, scopeIngest)
	if err != nil {
		return err
	}
	if a.stopped() {
		return shuttingDown.because("nothing was stored: resend in a moment")
	}
	if err := checkMediaType(r.Header); err != nil {
		return err
	}
	ev, err := a.readEvent(x, r)
	x.clientID, x.messageID = ev.ClientID, ev.MessageID
	if err != nil {
		return err
	}
	if err := who.mayUse(ev.ClientID); err != nil {
		return err
	}
	return a.accept(x, r, ev)
}

func (a *api) readEvent(x *exchange, r *http.Request) (functions.Event, error) {
	e := newEnvelope()
	defer e.free()
	if err := a.readBody(x, r, &e.body); err != nil {
		return functions.Event{}, err
	}
	return e.event()
}

// accept checks ev, makes it durable and answers. Every event goes through here,
// whichever way it came in.
func (a *api) accept(x *exchange, r *http.Request, ev functions.Event) error {
	ev, err := a.Functions.Check(ev)
	if err != nil {
		return eventProblem(err)
	}
	ev.RequestID = x.requestID
	if ev.Attrs == nil {
		ev.Attrs = traceAttrs(r.Header)
	}
	receipt, err := a.Store.Append(r.Context(), ev)
	x.body.release()
	if err != nil {
		if r.Context().Err() != nil { // a statement that was interrupted says so in words of its own
			err = errors.Join(r.Context().Err(), err)
		}
		return storeProblem(err)
	}
	x.seq = receipt.Seq
	if receipt.Result == nil {
		if wait := preferredWait(r.Header); wait > 0 {
			a.waitFor(x, r, &receipt, wait)
		}
	}
	x.answerReceipt(receipt)
	return nil
}

// checkMediaType takes JSON, also when it is not named as such or named as curl
// does by default.
func checkMediaType(h http.Header) error {
	for _, encoding := range h["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return mediaType.because("Content-Encoding %.50q is not taken: send the body as it is", encoding)
		}
	}
	if h["Ce-Specversion"] != nil {
		return mediaType.because("CloudEvents (ce-* headers) are not taken here: send the event as application/json")
	}
	contentType := h.Get("Content-Type")
	if contentType == "" || contentType == "application/json" {
		return nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil || media != "application/json" && media != "application/x-www-form-urlencoded":
		return mediaType.because("Content-Type %.100q is not taken here: send one event as application/json", contentType)
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"):
		return mediaType.because("charset %.50q is not taken: send UTF-8", params["charset"])
	}
	return nil
}
