package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"inturn/db"
)

// maxWait bounds Prefer: wait, in seconds.
const maxWait = 60

// waitFor holds the answer until the event is settled, the time is over, or the
// server stops, and completes the receipt with the result if there is one. What
// goes wrong here is not the sender's concern: the event is durable.
func (g *ingestion) waitFor(x *exchange, r *http.Request, receipt *db.Receipt, seconds int) {
	x.Header().Set("Preference-Applied", "wait="+strconv.Itoa(seconds))
	limit := time.Duration(seconds) * time.Second

	// The server's write time-out would cut the answer off. Where there is no
	// deadline to set, there is no time-out either. The read time-out does no harm:
	// it ends with the body.
	_ = http.NewResponseController(x).SetWriteDeadline(time.Now().Add(limit + writeTimeout))

	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	result, err := g.store.Wait(ctx, receipt.Seq, g.stopping)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, db.ErrClosed) {
			g.log.WarnContext(ctx, "wait for the result of an event", "request_id", x.requestID,
				"client_id", receipt.ClientID, "message_id", receipt.MessageID, "seq", receipt.Seq, "error", err)
		}
		return
	}
	receipt.State, receipt.Result = result.Status, result
}

// preferredWait returns the seconds of `Prefer: wait=n` (RFC 7240, sections 2 and
// 4.3), at most maxWait, or 0. Of several the first counts; one that can't be
// understood is ignored, as the RFC asks.
func preferredWait(h http.Header) int {
	for _, line := range h["Prefer"] {
		for line != "" {
			var preference string
			preference, line = cutOutsideQuotes(line, ',')
			preference, _ = cutOutsideQuotes(preference, ';') // parameters
			name, value, _ := strings.Cut(preference, "=")
			if strings.EqualFold(strings.Trim(name, " \t"), "wait") {
				return waitSeconds(strings.Trim(value, " \t"))
			}
		}
	}
	return 0
}

func waitSeconds(s string) int {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > maxWait { // digits that don't fit are many
		return maxWait
	}
	return n
}

// cutOutsideQuotes is strings.Cut, blind to what stands in quoted strings.
func cutOutsideQuotes(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
