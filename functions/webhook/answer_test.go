package webhook

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"inturn/functions"
)

func TestDecodeResult(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct{ body, want string }{
		{"", ""}, {" \r\n", ""}, {"\uFEFF", ""}, {"null", "null"}, {"{}", "{}"}, {" { \"a\" : [ 1 , 2 ] }\n", `{"a":[1,2]}`},
		{"12345678901234567890.50", "12345678901234567890.50"}, {"\uFEFF{\"a\":1}", `{"a":1}`}, {`"text"`, `"text"`},
		{"OK", `"OK"`}, {"{", `"{"`}, {"{} {}", `"{} {}"`}, {"NaN", `"NaN"`}, {"a\x00b\nc", `"a\u0000b\nc"`},
		{"\xff\xfe", "\"\uFFFD\""}, {`"\ud83d\ude00"`, `"\ud83d\ude00"`},
		{strings.Repeat("[", 20_000), `"` + strings.Repeat("[", 20_000) + `"`},
		{long(functions.MaxResult - 2), `"` + long(functions.MaxResult-2) + `"`},
		{`"` + long(functions.MaxResult-2) + `"`, `"` + long(functions.MaxResult-2) + `"`},
	} {
		if got, odd, err := decodeResult([]byte(c.body)); string(got) != c.want || odd != nil || err != nil {
			t.Errorf("%.40q: %.40q, %v, %v, want %.40q", c.body, got, odd, err, c.want)
		}
	}
	// What breaks the door's rules for JSON is kept as a string, and said.
	for body, want := range map[string]string{
		`"\ud800"`: "surrogate", `{"a":1,"a":2}`: "duplicate", `{"a":1,"\u0061":2}`: "duplicate", strings.Repeat("[", 65) + strings.Repeat("]", 65): "deeper than 64", "\"\xff\"": "UTF-8",
	} {
		got, odd, err := decodeResult([]byte(body))
		var text string
		if err != nil || odd == nil || !strings.Contains(odd.Error(), want) || json.Unmarshal(got, &text) != nil || text != strings.ToValidUTF8(body, "\uFFFD") {
			t.Errorf("%s: %s, %v, %v", body, got, odd, err)
		}
	}
	// Too long is no result at all, also where only its JSON is.
	for _, body := range []string{long(functions.MaxResult + 1), long(functions.MaxResult - 1), strings.Repeat("\x00", functions.MaxResult/2),
		`"` + strings.Repeat("<", functions.MaxResult/2) + `"`} {
		if got, _, err := decodeResult([]byte(body)); got != nil || err == nil {
			t.Errorf("%d bytes of %.5q: %.40q, %v", len(body), body, got, err)
		}
	}
}

func FuzzDecodeResult(f *testing.F) {
	for _, s := range []string{"", "{}", `{"a":[1e400,"\u0000"]}`, "\xff", "<html>", "\uFEFF1", `"\ud800"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, odd, err := decodeResult(body)
		switch {
		case err != nil && got != nil, got == nil && err == nil && len(strings.TrimLeft(string(body), "\uFEFF \t\r\n\v\f\u0085\u00a0")) == len(body) && len(body) > 0:
			t.Fatalf("%q, %v", got, err)
		case got == nil:
			return
		case !jsontext.Value(got).IsValid() || len(got) > functions.MaxResult:
			t.Fatalf("%q is no result", got)
		}
		// What was JSON means the same, what was text reads the same.
		var was, is any
		if odd == nil && utf8.Valid(body) && json.Unmarshal(body, &was) == nil {
			a, aerr := json.Marshal(was)
			if err := json.Unmarshal(got, &is); err != nil || aerr != nil {
				t.Skip() // a number out of Go's range
			}
			if b, err := json.Marshal(is); err != nil || string(a) != string(b) {
				t.Fatalf("%q became %q", body, got)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		values []string
		want   time.Duration // 0 for none
	}{
		{nil, 0}, {[]string{""}, 0}, {[]string{" "}, 0}, {[]string{"soon"}, 0}, {[]string{"-1"}, 0}, {[]string{"1.5"}, 0}, {[]string{"1e3"}, 0}, {[]string{"0x10"}, 0},
		{[]string{"1", "2"}, 0}, {[]string{"+5"}, 0}, {[]string{"١"}, 0},
		{[]string{"0"}, time.Second}, {[]string{"1"}, time.Second}, {[]string{" 120\t"}, 2 * time.Minute}, {[]string{"0000000000000000000030"}, 30 * time.Second},
		{[]string{"3600"}, time.Hour}, {[]string{"3601"}, time.Hour}, {[]string{"99999"}, time.Hour}, {[]string{strings.Repeat("9", 1000)}, time.Hour},
		{[]string{"Sun, 22 Nov 2026 01:00:30 GMT"}, 30 * time.Second}, {[]string{"Sunday, 22-Nov-26 01:00:30 GMT"}, 30 * time.Second}, {[]string{"Sun Nov 22 01:00:30 2026"}, 30 * time.Second},
		{[]string{"Sun, 22 Nov 2026 00:00:00 GMT"}, time.Second}, {[]string{"Fri, 31 Dec 9999 23:59:59 GMT"}, time.Hour}, {[]string{"Mon, 01 Jan 0001 00:00:00 GMT"}, time.Second},
		{[]string{"Sun, 31 Feb 2026 00:00:00 GMT"}, 0},
	} {
		got, ok := retryAfter(c.values, now)
		if got != c.want || ok != (c.want > 0) {
			t.Errorf("%.40q: %v, %t, want %v", c.values, got, ok, c.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "0", "99999999999999999999", "Sun, 22 Nov 2026 01:00:30 GMT", " 7 ", "-1"} {
		f.Add(s, int64(1_795_000_000))
	}
	f.Fuzz(func(t *testing.T, value string, unix int64) {
		got, ok := retryAfter([]string{value}, time.Unix(unix%(1<<36), 0))
		if ok && (got < time.Second || got > time.Hour) || !ok && got != 0 {
			t.Fatalf("%v, %t", got, ok)
		}
	})
}

func TestLeastWait(t *testing.T) {
	const first, top = time.Second, 5 * time.Minute
	p := functions.Policy{InitialBackoff: first, MaxBackoff: top, Multiplier: 2, Jitter: 0.5}
	for attempts, want := range map[int]time.Duration{
		0: first / 2, 1: first / 2, 2: first, 3: 2 * first, 9: 128 * first, 10: top / 2, 1000: top / 2, math.MaxInt: top / 2,
	} {
		if got := leastWait(p, attempts); got != want {
			t.Errorf("after %d attempts %v, want %v", attempts, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	for body, want := range map[string]string{
		"": "", " \r\n": "", "no such tea\n": ": no such tea", `{"error": "no name"}`: `: {"error": "no name"}`, "\uFEFFx": `: \ufeffx`,
		"<!doctype html><p>why": "", " <html>": "", "<?xml version=\"1.0\"?>": "", "\x1f\x8b\x08": "", "PK\x03\x04": "", "a\x00b": "",
		"1 < 2": ": 1 < 2", "a\r\nb\tc\u2028d\u0085e": ": a b c d e", "evil\u202etxt.exe\u2066": `: evil\u202etxt.exe\u2066`, "M\xfcller": ": M\uFFFDller",
		strings.Repeat("x", 600): ": " + strings.Repeat("x", maxReason), strings.Repeat("x", maxReason-1) + "я": ": " + strings.Repeat("x", maxReason-1),
		strings.Repeat("\u202e", 200): ": " + strings.Repeat(`\u202e`, maxReason/6),
	} {
		for _, contentType := range []string{"", "text/html", "application/octet-stream", "application/json", "text/plain"} {
			if want == "" && contentType == "application/json" {
				break // what is declared as text is taken for it
			}
			resp := &http.Response{Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
			resp.Header.Set("Content-Type", contentType)
			if got := reason(resp); got != want {
				t.Errorf("%.40q as %q: %.40q, want %.40q", body, contentType, got, want)
			}
		}
	}
}
