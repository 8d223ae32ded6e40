package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// body takes a request in binary mode (CloudEvents HTTP binding 1.0.2, section
// 3.1): attributes are headers, the body is data.
func (c *cloudEvent) body(h http.Header, data []byte) error {
	var names []string
	for name := range h {
		if strings.HasPrefix(name, "Ce-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, header := range names {
		name := strings.ToLower(strings.TrimPrefix(header, "Ce-"))
		switch {
		case len(h[header]) > 1:
			return field("/"+pointerToken(name), "is given more than once")
		case name == "datacontenttype":
			return field("/datacontenttype", "must be given as Content-Type")
		}
		text, ok := headerText(h[header][0])
		if !ok {
			return field("/"+pointerToken(name), "is not valid UTF-8 after percent-decoding")
		}
		if err := c.attribute(name, text, appendText(nil, text)); err != nil {
			return err
		}
	}
	if contentType := h.Get("Content-Type"); contentType != "" {
		if err := c.attribute("datacontenttype", contentType, appendText(nil, contentType)); err != nil {
			return err
		}
	}
	if len(data) == 0 {
		return nil
	}
	var err error
	c.data, err = compactPayload(data)
	return err
}

// headerText decodes an attribute's value (section 3.1.3.2): a quoted string is
// unquoted, then percent-decoded once. A % that no two hex digits follow is itself:
// senders that don't encode are many.
func headerText(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
		unquoted := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '\\' && i+1 < len(s) {
				i++
			}
			unquoted = append(unquoted, s[i])
		}
		s = string(unquoted)
	}
	if strings.Contains(s, "%") {
		decoded := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				if b, err := url.PathUnescape(s[i : i+3]); err == nil {
					decoded = append(decoded, b...)
					i += 2
					continue
				}
			}
			decoded = append(decoded, s[i])
		}
		s = string(decoded)
	}
	return s, utf8.ValidString(s)
}
