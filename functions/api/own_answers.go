package api

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// The problems of requests that no handler sees, as they can't be read.
var (
	headerTooLarge = kind{"header-too-large", http.StatusRequestHeaderFieldsTooLarge, "The header is too large", 0}
	expectation    = kind{"expectation-failed", http.StatusExpectationFailed, "Nothing but 100-continue can be expected", 0}
	notImplemented = kind{"not-implemented", http.StatusNotImplemented, "The transfer coding is not known", 0}
	httpsRequired  = kind{"https-required", http.StatusBadRequest, "This address speaks HTTPS", 0}
	badVersion     = kind{"version-not-supported", http.StatusHTTPVersionNotSupported, "The version of HTTP is not supported", 0}
)

// Conn returns conn with net/http's own answers to requests that it can't read, which are
// text, as problems. It is for connections of HTTP/1 in the clear: below TLS it does nothing.
func Conn(conn net.Conn) net.Conn { return &ownAnswers{conn} }

type ownAnswers struct{ net.Conn }

// Write writes b, or a problem in the place of an answer of net/http's own.
func (c *ownAnswers) Write(b []byte) (int, error) {
	p, ok := ownAnswer(b)
	if !ok {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(ownProblem(p)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ownHeader follows the status line of net/http's own answers. Those of handlers have a
// Date there, as all headers are sorted behind Content-Type.
const ownHeader = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// ownAnswer reports whether b is an answer of net/http's own, and what it says.
func ownAnswer(b []byte) (*problem, bool) {
	const version = "HTTP/1.1 "
	if !bytes.HasPrefix(b, []byte(version)) || len(b) < len(version)+4 {
		return nil, false
	}
	end := bytes.IndexByte(b, '\r')
	if end < 0 {
		return nil, false
	}
	line := string(b[len(version):end])
	if strings.HasPrefix(line, "417 ") { // which no handler answers
		return expectation.withDetail("send the request without Expect, or with Expect: 100-continue"), true
	}
	if !bytes.HasPrefix(b[end:], []byte(ownHeader)) {
		return nil, false
	}
	status, _ := strconv.Atoi(line[:min(3, len(line))])
	_, said, _ := strings.Cut(line, ": ")
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		return headerTooLarge.withDetail("all headers together may have %d KiB", maxHeader>>10), true
	case http.StatusNotImplemented:
		return notImplemented.withDetail("a body is sent with Content-Length, or with Transfer-Encoding: chunked"), true
	case http.StatusHTTPVersionNotSupported:
		return badVersion.withDetail("this server speaks HTTP/1.1, HTTP/1.0 and, over TLS, HTTP/2"), true
	case http.StatusBadRequest:
		if said == "" {
			said = "the request line or a header is not well-formed"
		}
		return invalidRequest.withDetail("%s", said), true
	}
	return nil, false
}

// PlainAnswer is what a client gets that speaks HTTP to an address of HTTPS.
func PlainAnswer() []byte {
	return ownProblem(httpsRequired.withDetail("this address speaks HTTPS: begin the URL with https://"))
}

// ownProblem is the whole answer. The connection is closed behind it.
func ownProblem(p *problem) []byte {
	id := requestID(nil)
	body := p.json(id)
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n%s",
		p.status, http.StatusText(p.status), problemType[0], len(body), id, body)
}
