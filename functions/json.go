package functions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth bounds how deep a JSON value from outside nests: its readers may recurse.
const MaxDepth = 64

// CompactJSON returns text, one JSON value, without insignificant white space and with
// nothing else changed. It refuses what two readers could understand differently or
// not at all (RFC 7493): invalid UTF-8, lone surrogates, a name that stands twice in an
// object, anything behind the value, and more than MaxDepth levels.
func CompactJSON(text []byte) (json.RawMessage, error) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	value, err := d.ReadValue()
	if err != nil {
		if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			err = se.Err
		}
		return nil, fmt.Errorf("is not valid JSON: %w", err)
	}
	out, deepest := make(json.RawMessage, 0, len(value)), 0
	for i, depth := 0, 0; i < len(value); i++ {
		switch value[i] {
		case ' ', '\t', '\n', '\r':
			continue
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			end := i + 1
			for ; value[end] != '"'; end++ {
				if value[end] == '\\' {
					end++
				}
			}
			out = append(out, value[i:end]...)
			i = end
		}
		out = append(out, value[i])
	}
	if deepest > MaxDepth {
		return nil, fmt.Errorf("nests deeper than %d levels", MaxDepth)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("goes on after its JSON value")
	}
	return out, nil
}
