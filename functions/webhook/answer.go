package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"inturn/functions"
)

// answer is what came of a call.
type answer struct {
	events []functions.Event // to emit; their receipts are the result
	emits  bool              // the answer is events, which may be none
	result json.RawMessage   // where err is nil; nil for none
	odd    error             // why JSON that came is a string in result; nil if it isn't
	err    error             // what the function returns
	health health
}

// read judges the response to ev. An error means that its body could not be read.
func read(resp *http.Response, ev functions.Event) (answer, error) {
	status := resp.StatusCode
	if status/100 == 2 {
		return readSuccess(resp, ev)
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
			a.err = functions.Retry(after, failure)
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		a.err = fmt.Errorf("%w: it redirects to another host, or too often", failure)
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		a.err = fmt.Errorf("%w: only 307 and 308 are followed, on the same host", failure)
	}
	return a, nil
}

// readSuccess makes a result, or events, of an answer of 2xx.
func readSuccess(resp *http.Response, ev functions.Event) (a answer, err error) {
	mode, limit := modeOf(resp.Header), maxEmitted
	if mode == asResult {
		limit = functions.MaxResult
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return a, err
	}
	if a.emits = mode != asResult; a.emits {
		a.events, a.err = decodeEmitted(mode, resp.Header, body, ev)
	} else {
		a.result, a.odd, a.err = decodeResult(body)
	}
	if a.err != nil {
		a.err = fmt.Errorf("the endpoint answered %d, but %w", resp.StatusCode, a.err)
	}
	return a, nil
}

// leastWait is the shortest wait of the policy after so many attempts.
func leastWait(p functions.Policy, attempts int) time.Duration {
	wait := min(float64(p.InitialBackoff)*math.Pow(p.Multiplier, float64(max(attempts-1, 0))), float64(p.MaxBackoff))
	return time.Duration(wait * (1 - p.Jitter))
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds, or a date. It is
// kept between a second and an hour. What can't be read is none.
func retryAfter(values []string, now time.Time) (time.Duration, bool) {
	if len(values) != 1 {
		return 0, false
	}
	text := strings.Trim(values[0], " \t")
	var after time.Duration
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
