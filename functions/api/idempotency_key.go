package api

import (
	"net/http"

	"github.com/dunglas/httpsfv"
)

// idempotencyKey returns the Idempotency-Key of a request with one event, another
// name of its message_id, or "". Its value is a string of RFC 9651, section 3.3.3, as
// draft-ietf-httpapi-idempotency-key-header has it; parameters mean nothing.
func idempotencyKey(h http.Header) (string, error) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	item, err := httpsfv.UnmarshalItem(values)
	if key, ok := item.Value.(string); err == nil && ok && key != "" {
		return key, nil
	}
	return "", invalidRequest.withDetail(`Idempotency-Key must be one quoted string of visible ASCII characters and blanks, not empty: Idempotency-Key: "…"`)
}

// noIdempotencyKey is for bodies of many events: one key can't be the id of each.
func noIdempotencyKey(h http.Header) error {
	if h["Idempotency-Key"] == nil {
		return nil
	}
	return invalidRequest.withDetail("Idempotency-Key is for requests with one event: give each event its id in the body")
}
