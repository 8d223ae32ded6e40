package functions_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"inturn/functions"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestCompactJSON(t *testing.T) {
	for text, want := range map[string]string{
		"null": "null", " { \"a b\" : [ 1 , \"\\\" x\\\\\" ] }\n": `{"a b":[1,"\" x\\"]}`, "1e400": "1e400", `"<\u00e9"`: `"<\u00e9"`, `"\ud83d\ude00"`: `"\ud83d\ude00"`,
		nested(functions.MaxDepth): nested(functions.MaxDepth), `"` + nested(100) + `"`: `"` + nested(100) + `"`,
	} {
		if got, err := functions.CompactJSON([]byte(text)); string(got) != want || err != nil {
			t.Errorf("%.40s: %.40s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "not valid JSON", " ": "not valid JSON", "{": "not valid JSON", "{} {}": "goes on", "1 x": "goes on", `"\ud800"`: "surrogate", "\"\xff\"": "UTF-8", `{"a":1,"a":2}`: "duplicate", `{"a":1,"\u0061":2}`: "duplicate",
		nested(functions.MaxDepth + 1): "deeper than 64", strings.Repeat("[", 20_000): "not valid JSON",
	} {
		if got, err := functions.CompactJSON([]byte(text)); got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %.40s, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzCompactJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1e400,"\u0000"]}`, `"\ud800"`, " [ ] ", "\xff", `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := functions.CompactJSON(text)
		if err != nil {
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, text); err != nil || want.String() != string(got) {
			t.Fatalf("%q becomes %q, want %q, %v", text, got, want.String(), err)
		}
	})
}
