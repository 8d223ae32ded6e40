package api

import (
	"net/http"
	"strings"
)

// traceAttrs returns the event's attributes for a valid traceparent, or nil: what
// is not valid is ignored, as W3C Trace Context (section 4.3) asks.
func traceAttrs(h http.Header) []byte {
	values := h["Traceparent"]
	if len(values) != 1 || !validTraceparent(values[0]) {
		return nil
	}
	return []byte(`{"traceparent":"` + values[0] + `"}`)
}

// validTraceparent follows W3C Trace Context, section 3.2: version, trace-id,
// parent-id and flags in lower-case hex. Versions after 00 may go on after a dash.
func validTraceparent(s string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || len(s) > 256 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, traceID, parentID, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !lowerHex(version) || !lowerHex(traceID) || !lowerHex(parentID) || !lowerHex(flags) || version == "ff" ||
		strings.Trim(traceID, "0") == "" || strings.Trim(parentID, "0") == "" {
		return false
	}
	if len(s) == length {
		return true
	}
	if version == "00" || s[length] != '-' {
		return false
	}
	for i := length; i < len(s); i++ {
		if !alphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
