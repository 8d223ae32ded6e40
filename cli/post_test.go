package cli

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// An event that can't be sent is refused with what is wrong, and without a word of one
// that may have been taken.
func TestPostOfWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ payload, url, says, hint string }{
		{`{"ms":1,"ms":2}`, "http://localhost:1", "the payload has two members /ms: ", ""},
		{`{"ms":`, "http://localhost:1", "the payload is not JSON", "quote it for the shell"},
		{`1 2`, "http://localhost:1", "the payload is not JSON", "quote it for the shell"},
		{`{"ms":1}`, "ftp://localhost", "is not the address of a server", "an address looks like"},
	} {
		post := Post{Client: Client{URL: c.url}, ClientID: "a", Type: "work", Payload: c.payload}
		err := post.Run(t.Context(), IO{Out: io.Discard, Err: io.Discard})
		hint := ""
		if h, ok := errors.AsType[*Hint](err); ok {
			hint = h.Hint
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(hint, c.hint) || c.hint == "" && hint != "" {
			t.Errorf("%s to %s: %v (%s)", c.payload, c.url, err, hint)
		}
	}
}
