package cloudevents

import (
	"errors"
	"mime"
	"strings"
	"time"
	"unicode/utf8"
)

// CheckAttribute returns what is wrong with the text of an attribute, by its name, and
// how to mend it: the attributes that CloudEvents 1.0.2 defines (sections 3.1 and 3.2,
// and the extension partitionkey) have types of their own, any other is a String.
func CheckAttribute(name, text string) error {
	switch name {
	case "specversion":
		if text != "1.0" {
			return errors.New("must be 1.0")
		}
	case "id", "type", "subject", "partitionkey":
		if text == "" {
			return errors.New("must not be empty")
		}
	case "source":
		if text == "" || !URIReference(text) {
			return errors.New("must be a URI-reference (RFC 3986), not empty, with percent-encoding for what has no place in one")
		}
	case "dataschema":
		if !URI(text) {
			return errors.New("must be a URI (RFC 3986), with its scheme")
		}
	case "time":
		if !timestamp(text) {
			return errors.New("must be a time as RFC 3339 has it, such as 2026-11-30T09:00:00Z")
		}
	case "datacontenttype":
		if kind, _, err := mime.ParseMediaType(text); err != nil || !strings.Contains(kind, "/") {
			return errors.New("must be a media type (RFC 2046), such as application/json")
		}
	}
	return checkString(text)
}

// timestamp reports whether text is a date-time of RFC 3339, section 5.6, with T and Z in
// capitals. Go's parser also takes hours of one digit and commas.
func timestamp(text string) bool {
	_, err := time.Parse(time.RFC3339, text)
	return err == nil && len(text) >= len("2006-01-02T15:04:05Z") && text[len("2006-01-02T15")] == ':' && !strings.Contains(text, ",")
}

// checkString follows the type String (section 2.1).
func checkString(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("must be valid UTF-8; in a header, percent-encode what is not ASCII")
	}
	for _, r := range text {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return errors.New("must not contain control characters")
		}
		if r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return errors.New("must not contain code points that Unicode calls noncharacters")
		}
	}
	return nil
}
