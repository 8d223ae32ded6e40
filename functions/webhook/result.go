package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"inturn/functions"
)

// decodeResult makes an event's result of an answer's body: nothing is none; JSON, as
// functions.CompactJSON has it, is kept, whatever its Content-Type, as many servers guess
// one; all else is a string, in which bytes that are no UTF-8 become U+FFFD. JSON that
// readers understand differently is such a string too, and odd says why.
//
// What is longer than a result may be is an error, and so another attempt: a part of an
// answer would be a result that the endpoint did not give. The endpoint, which has done the event, is
// asked again with the same id; in the end a person sees it.
func decodeResult(body []byte) (result json.RawMessage, odd, err error) {
	if len(body) > functions.MaxResult {
		return nil, nil, fmt.Errorf("with more than the %d bytes of a result", functions.MaxResult)
	}
	body = bytes.TrimPrefix(body, []byte("\uFEFF")) // a byte order mark
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, nil
	}
	var value any
	if compact, err := functions.CompactJSON(body); err == nil {
		value = compact
	} else {
		if json.Valid(body) {
			odd = err
		}
		value = strings.ToValidUTF8(string(body), "\uFFFD")
	}
	result, err = json.Marshal(value) // as the engine will
	switch {
	case err != nil:
		return nil, nil, errors.New("what it answered can't be written as JSON")
	case len(result) > functions.MaxResult:
		return nil, nil, fmt.Errorf("with more than the %d bytes of a result, written as JSON", functions.MaxResult)
	}
	return result, odd, nil
}
