package api

import (
	"net/http"
	"strings"
)

// idempotencyKey returns the Idempotency-Key of a request with one event, another
// name of its message_id, or "". Its value is a string of RFC 8941, section 3.3.3,
// as draft-ietf-httpapi-idempotency-key-header has it; parameters mean nothing.
func idempotencyKey(h http.Header) (string, error) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	wrong := invalidRequest.withDetail(`Idempotency-Key must be one quoted string of visible ASCII characters and blanks, not empty: Idempotency-Key: "…"`)
	if len(values) > 1 {
		return "", wrong
	}
	s := strings.Trim(values[0], " ")
	if s == "" || s[0] != '"' {
		return "", wrong
	}
	key := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if rest := strings.TrimLeft(s[i+1:], " "); len(key) == 0 || rest != "" && rest[0] != ';' {
				return "", wrong
			}
			return string(key), nil
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", wrong
			}
			key = append(key, s[i])
		case c < 0x20 || c > 0x7e:
			return "", wrong
		default:
			key = append(key, c)
		}
	}
	return "", wrong
}

// noIdempotencyKey is for bodies of many events: one key can't be the id of each.
func noIdempotencyKey(h http.Header) error {
	if h["Idempotency-Key"] == nil {
		return nil
	}
	return invalidRequest.withDetail("Idempotency-Key is for requests with one event: give each event its id in the body")
}
