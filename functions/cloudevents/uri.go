package cloudevents

import (
	"net/netip"
	"strings"
)

// URIReference reports whether s is a URI-reference (RFC 3986, section 4.1). The empty
// string is one, though the source of an event must not be empty.
func URIReference(s string) bool {
	s, fragment, _ := strings.Cut(s, "#")
	s, query, _ := strings.Cut(s, "?")
	if i := strings.IndexAny(s, ":/"); i >= 0 && s[i] == ':' {
		if !scheme(s[:i]) {
			return false // also a relative path whose first segment has a colon
		}
		s = s[i+1:]
	}
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			i = len(rest)
		}
		if !authority(rest[:i]) {
			return false
		}
		s = rest[i:]
	}
	return made(s, ":@/") && made(query, ":@/?") && made(fragment, ":@/?")
}

// URI reports whether s is a URI (RFC 3986, section 3): a reference that has a scheme.
func URI(s string) bool {
	i := strings.IndexAny(s, ":/?#")
	return i >= 0 && s[i] == ':' && URIReference(s)
}

func scheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !letter(c) && (i == 0 || !digit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// authority reads [userinfo "@"] host [":" port] (section 3.2).
func authority(s string) bool {
	if user, host, ok := strings.Cut(s, "@"); ok {
		if !made(user, ":") {
			return false
		}
		s = host
	}
	host, port := s, ""
	if end := strings.IndexByte(s, ']'); strings.HasPrefix(s, "[") {
		if end < 0 || !ipLiteral(s[1:end]) {
			return false
		}
		host, port = "", s[end+1:]
		if port != "" && port[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(port, ":")
	} else if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	return made(host, "") && strings.Trim(port, "0123456789") == ""
}

// ipLiteral reads what stands between the brackets of a host (section 3.2.2).
func ipLiteral(s string) bool {
	if version, rest, ok := strings.Cut(strings.ToLower(s), "."); ok && strings.HasPrefix(version, "v") {
		return len(version) > 1 && strings.Trim(version[1:], "0123456789abcdef") == "" &&
			rest != "" && !strings.Contains(rest, "%") && made(rest, ":")
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// made reports whether s has only unreserved characters, sub-delims, percent-encoded
// bytes and those of more.
func made(s, more string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case unreserved(c), strings.IndexByte("!$&'()*+,;=", c) >= 0, strings.IndexByte(more, c) >= 0:
		case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) && hexDigit(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func letter(c byte) bool   { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool    { return c >= '0' && c <= '9' }
func hexDigit(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// unreserved reports whether c means itself wherever it stands (section 2.3).
func unreserved(c byte) bool {
	return letter(c) || digit(c) || c == '-' || c == '.' || c == '_' || c == '~'
}
