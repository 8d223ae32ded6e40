package webhook

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxReason = 512      // bytes of what an endpoint says about a failure
	maxRest   = 64 << 10 // of an answer that is read only to keep the connection
)

// reason returns what an endpoint says about a failure, on one line, with ": " before
// it, or "". What is not declared as JSON or plain text is recognised by its content, as
// many servers declare nothing, or guess; pages of HTML and binary data are not for an
// error. What is left of the answer is read if it is short, so that the
// connection can be used again.
func reason(resp *http.Response) string {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return ""
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxRest) // a connection that breaks now is not used again
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	declared := kind == "text/plain" || kind == "application/json" || strings.HasSuffix(kind, "+json")
	if !declared && http.DetectContentType(text) != "text/plain; charset=utf-8" {
		return ""
	}
	if line := oneLine(text); line != "" {
		return ": " + line
	}
	return ""
}

// oneLine returns text without control characters and with single blanks. What else has
// no form of its own, such as marks that change the direction of writing, is escaped; so
// the line can be longer than maxReason by a part, and is cut there.
func oneLine(text []byte) string {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ { // a character that the bound has cut
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				text = text[:len(text)-n]
			}
			break
		}
	}
	words := strings.FieldsFunc(strings.ToValidUTF8(string(text), "\uFFFD"), func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r)
	})
	var line strings.Builder
	for _, r := range strings.Join(words, " ") {
		piece := string(r)
		if !unicode.IsPrint(r) {
			piece = fmt.Sprintf("\\u%04x", r)
		}
		if line.Len()+len(piece) > maxReason {
			break
		}
		line.WriteString(piece)
	}
	return line.String()
}
