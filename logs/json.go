package logs

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns a handler that writes one JSON object a line to w. A duration is text
// with its unit, such as "1m30s". What could drive a terminal or deceive its reader is
// escaped: control characters, and invisible ones such as those that turn the direction
// of writing.
func JSON(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(printable{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: readable})
}

func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// printable writes lines of JSON, in which such characters stand in strings alone.
type printable struct{ w io.Writer }

func (p printable) Write(line []byte) (int, error) {
	if bytes.IndexFunc(line, hidden) < 0 {
		return p.w.Write(line)
	}
	safe := make([]byte, 0, len(line)+32)
	for rest := line; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if hidden(r) {
			for _, unit := range utf16.AppendRune(nil, r) { // RFC 8259, section 7
				safe = fmt.Appendf(safe, `\u%04x`, unit)
			}
		} else {
			safe = append(safe, rest[:size]...)
		}
		rest = rest[size:]
	}
	if _, err := p.w.Write(safe); err != nil {
		return 0, err
	}
	return len(line), nil
}

// hidden reports whether r must be escaped. The end of the line is not.
func hidden(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
