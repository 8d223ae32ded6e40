package cli

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, Ünïcode 漢字 🙂": "plain, Ünïcode 漢字 🙂",
		"\x1b[31mred":         `\u001b[31mred`,
		"a\nb\tc\rd":          `a\nb\tc\rd`,
		"\u009b2J\x7f":        `\u009b2J\u007f`,
		"\xff\xfe":            `\xff\xfe`,
		"abc\u202edef\u2028":  `abc\u202edef\u2028`,
		"\U000e0001":          `\U000e0001`,
		"\ufffd":              "\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"}, {"漢字", 1, "…"},
	} {
		if got := cut(c.in, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}
