package cloudevents

import (
	"net/url"
	"strings"
	"testing"
)

func TestURIReference(t *testing.T) {
	for _, good := range []string{
		"", "a", "anna", "/shop", "//host/x", "https://u:p@host.example:8080/a;b/c?d=/?#e?/", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
		"mailto:a@b.example", "?q", "#f", "a/b:c", "./42:7", "a%20b", "http://[::1]:1/", "http://[v7.a:b]/", "http://host:/", "1-555-123-4567", "x:", "file:///x", "a,b;c=(d)*!$&'+~._-",
	} {
		if !URIReference(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"42:7", "a%b", "a%2", "a%zz", "Anna Müller", "a b", "ä", ":x", "a#b#c", "<x>", `a\b`, `"`, "a^b", "a|b", "{x}", "`", "http://[::1", "http://[1.2.3.4]/", "http://[fe80::1%25eth0]/",
		"http://host:1a/", "http://a@b@c/", "//[x]", "a[0]", "?[", "1a:b", "+a:b", "\x7f", "a\x00", "http://[v.x]/", "http://[::1]x/",
	} {
		if URIReference(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
	for s, want := range map[string]bool{"a": false, "/a:b": false, "?a:b": false, "": false, "a:": true, "http://x": true, "urn:x:y": true, "1:2": false} {
		if URI(s) != want {
			t.Errorf("URI(%q) is %t", s, !want)
		}
	}
}

func TestSourceIsTheClientOrMadeOfIt(t *testing.T) {
	for client, want := range map[string]string{
		"anna": "anna", "/shop": "/shop", "https://shop.example/x?y": "https://shop.example/x?y", "a%20b": "a%20b",
		"42:7": "urn:inturn:account:42%3A7", "a%b": "urn:inturn:account:a%25b", "Anna Müller": "urn:inturn:account:Anna%20M%C3%BCller", "a b": "urn:inturn:account:a%20b",
		"urn:inturn:account:a%20b": "urn:inturn:account:urn%3Ainturn%3Aaccount%3Aa%2520b",
		"//a%41b":                  "urn:inturn:account:%2F%2Fa%2541b", // RFC 3986 allows it, Go's url.Parse doesn't
		"#":                        "urn:inturn:account:%23",           // Go writes it as nothing
	} {
		if got := Source(client); got != want {
			t.Errorf("Source(%q) is %q, want %q", client, got, want)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		source, id, key string
		keyed           bool
		client, message string
	}{
		{"/shop", "1", "", false, "/shop", "1"},
		{"/shop", "1", "anna", true, "anna", "/shop 1"},
		{"anna", "1", "anna", true, "anna", "1"},
		{"urn:inturn:account:42%3A7", "1", "42:7", true, "42:7", "1"},
		{"urn:inturn:account:42%3A7", "1", "42:8", true, "42:8", "urn:inturn:account:42%3A7 1"},
		{"//a%41b", "1", "//a%41b", true, "//a%41b", "1"},
	} {
		if client, message := Identity(c.source, c.id, c.key, c.keyed); client != c.client || message != c.message {
			t.Errorf("%+v: %q, %q", c, client, message)
		}
	}
}

func TestAttributeName(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "a1": true, "1": true, "": false, "A": false, "a-b": false, "ä": false, "a b": false} {
		if AttributeName(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

// A source is always a URI-reference, nobody else's, and leads back to its account.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"anna", "42:7", "a%b", "Anna Müller", "urn:inturn:account:x", "//h:1/", "http://[::1]/", "\xff"} {
		f.Add(s, "b")
	}
	f.Fuzz(func(t *testing.T, client, other string) {
		source := Source(client)
		if _, err := url.Parse(source); err != nil || !URIReference(source) || source == "" {
			t.Fatalf("%q is no source: %v", source, err)
		}
		if client != other && source == Source(other) {
			t.Fatalf("%q and %q have the source %q", client, other, source)
		}
		if c, m := Identity(source, "7", client, true); c != client || m != "7" {
			t.Fatalf("%q comes back as %q, %q", client, c, m)
		}
		// A scheme, a query and so on change nothing in what is allowed elsewhere.
		if URIReference(client) && strings.ContainsAny(client, " <>\"{}|\\^`\x00\x7f") {
			t.Fatalf("%q is taken", client)
		}
	})
}

func TestCheckAttribute(t *testing.T) {
	for name, texts := range map[string]struct{ good, bad []string }{
		"specversion":     {[]string{"1.0"}, []string{"", "1", "0.3", "1.0.2"}},
		"id":              {[]string{"1", "a b", "я"}, []string{"", "a\nb", "\x7f", "\u0085", "\uFFFE", "\uFDD0", "\U0001FFFF", "\xff"}},
		"source":          {[]string{"/shop", "anna"}, []string{"", "42:7", "Anna Müller"}},
		"type":            {[]string{"com.example.x"}, []string{""}},
		"subject":         {[]string{"x y"}, []string{""}},
		"partitionkey":    {[]string{"Anna Müller"}, []string{""}},
		"dataschema":      {[]string{"https://example.com/s#1", "urn:x:y"}, []string{"", "x", "/x", "https://a b"}},
		"time":            {[]string{"2026-11-30T09:00:00Z", "2026-11-30T09:00:00.123456789+01:00"}, []string{"", "yesterday", "2026-11-30", "2026-11-30 09:00:00Z", "2026-11-30T09:00:00", "2026-02-30T09:00:00Z", "2026-11-30T9:00:00Z", "2026-11-30T9:00:00.5Z", "2026-11-30T09:00:00,5Z", "2026-11-30T09:00:00+1:00", "2026-11-30T09:00:00+25:00"}},
		"datacontenttype": {[]string{"application/json", "text/plain; charset=utf-8"}, []string{"", "json", "a/b/c", "application/json; charset"}},
		"another":         {[]string{"", "anything: at all"}, []string{"\x00", "\xff"}},
	} {
		for _, text := range texts.good {
			if err := CheckAttribute(name, text); err != nil {
				t.Errorf("%s %q: %v", name, text, err)
			}
		}
		for _, text := range texts.bad {
			if err := CheckAttribute(name, text); err == nil {
				t.Errorf("%s %q is taken", name, text)
			}
		}
	}
}
