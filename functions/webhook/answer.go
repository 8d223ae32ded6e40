package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"inturn/functions"
)

const (
	maxReason = 512      // bytes of what an endpoint says about a failure
	maxRest   = 64 << 10 // of an answer that is read only to keep the connection
)

// answer is what came of a call.
type answer struct {
	result json.RawMessage // where err is nil; nil for none
	err    error           // what the function returns
	health health
}

// read judges a response. An error means that its body could not be read.
func read(resp *http.Response, attempt int) (answer, error) {
	status := resp.StatusCode
	if status/100 == 2 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, functions.MaxResult+1))
		if err != nil {
			return answer{}, err
		}
		result, err := decodeResult(body)
		if err != nil {
			err = fmt.Errorf("the endpoint answered %d, but %w", status, err)
		}
		return answer{result: result, err: err}, nil
	}
	failure := fmt.Errorf("the endpoint answered %d%s", status, reason(resp))
	a := answer{err: failure}
	if status >= 500 {
		a.health = struggles
	}
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		a.err = functions.Reject(failure)
	case http.StatusGone:
		a.err = functions.Park(failure)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if status == http.StatusTooManyRequests {
			a.health = limits
		}
		if after, ok := retryAfter(resp.Header.Values("Retry-After"), time.Now()); ok {
			// Not before what the policy would have waited at least: an endpoint that
			// says "1" for a minute must not use up the attempts.
			a.err = functions.Retry(max(after, leastWait(attempt)), failure)
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		a.err = fmt.Errorf("%w: it redirects to another host, or too often", failure)
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		a.err = fmt.Errorf("%w: only 307 and 308 are followed, on the same host", failure)
	}
	return a, nil
}

// leastWait is the shortest wait of the policy after so many attempts.
func leastWait(attempts int) time.Duration {
	return min(first<<min(max(attempts-1, 0), 20), top) / 2
}

// decodeResult makes an event's result of an answer: nothing is none, JSON is kept,
// whatever its Content-Type (many servers guess one), all else is a string, in which
// bytes that are no UTF-8 become U+FFFD.
//
// What is longer than a result may be is an error, and so another attempt: a part of an
// answer would be a result that nobody gave. The endpoint, which has done the event, is
// asked again with the same id; in the end a person sees it.
func decodeResult(body []byte) (json.RawMessage, error) {
	if len(body) > functions.MaxResult {
		return nil, fmt.Errorf("with more than the %d bytes of a result", functions.MaxResult)
	}
	body = bytes.TrimPrefix(body, []byte("\uFEFF")) // a byte order mark
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var result any = json.RawMessage(body)
	if !utf8.Valid(body) || !json.Valid(body) {
		result = strings.ToValidUTF8(string(body), "\uFFFD")
	}
	text, err := json.Marshal(result)
	switch {
	case err != nil:
		return nil, errors.New("what it answered can't be written as JSON")
	case len(text) > functions.MaxResult:
		return nil, fmt.Errorf("with more than the %d bytes of a result, written as JSON", functions.MaxResult)
	}
	return text, nil
}

// reason is what an endpoint says about a failure, on one line, with a colon before
// it. What is left of the answer is read if it is short, so that the connection can be
// used again.
func reason(resp *http.Response) string {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return ""
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxRest) // a connection that breaks now is not used again
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case kind == "text/plain", kind == "application/json", strings.HasSuffix(kind, "+json"):
	default:
		return "" // pages for people
	}
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(text), "\uFFFD"), func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r <= 0xa0 || r == '\u2028' || r == '\u2029'
	}), " ")
	if line == "" {
		return ""
	}
	return ": " + line
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds, or a date. It is
// kept between a second and an hour. What can't be read is none.
func retryAfter(values []string, now time.Time) (time.Duration, bool) {
	if len(values) != 1 {
		return 0, false
	}
	text := strings.Trim(values[0], " \t")
	after := time.Duration(0)
	switch at, err := http.ParseTime(text); {
	case err == nil:
		after = at.Sub(now)
	case text == "" || strings.Trim(text, "0123456789") != "":
		return 0, false
	default:
		after = maxRetryAfter
		if digits := strings.TrimLeft(text, "0"); len(digits) <= 4 {
			seconds := 0
			for _, d := range digits {
				seconds = 10*seconds + int(d-'0')
			}
			after = time.Duration(seconds) * time.Second
		}
	}
	return min(max(after, time.Second), maxRetryAfter), true
}
