package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// viewNames are the templates, each with the layout around it.
var viewNames = []string{"overview", "accounts", "account", "events", "event", "dead", "audit", "sql", "acted", "confirm", "problem", "login"}

// parse reads the templates, which are embedded: a failure is a fault of this package.
func parse() map[string]*template.Template {
	views := map[string]*template.Template{}
	for _, name := range viewNames {
		views[name] = template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html", "templates/"+name+".html"))
	}
	return views
}

// functions are what templates call. All that comes from a client goes through visible.
var functions = template.FuncMap{
	"visible": visible, "pretty": pretty, "short": short,
	"when": when, "age": age, "size": size, "some": orMore,
	"accountURL": func(clientID string) string { return link("/account", "client_id", clientID) },
	"eventURL": func(clientID, messageID string) string {
		return link("/event", "client_id", clientID, "message_id", messageID)
	},
	"link": link, "dict": dict, "now": time.Now,
}

// dict makes a map of names and values, for templates that are given several.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// link returns a URL of this server with these parameters, without those that are empty.
func link(path string, pairs ...string) string {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// visible shows what has no form of its own on a screen, or would change what stands beside
// it: control characters, invalid UTF-8, and those that turn the direction of writing.
func visible(s string) string { return escape(s, "") }

// maxShown bounds a text on a page, in bytes.
const maxShown = 256 << 10

// pretty shows JSON with line breaks, as far as maxShown.
func pretty(text json.RawMessage) string {
	var b bytes.Buffer
	if len(text) > maxShown || json.Indent(&b, text, "", "  ") != nil {
		return short(string(text), maxShown)
	}
	return escape(b.String(), "\n")
}

// short shows the begin of a long text.
func short(s string, most int) string {
	if len(s) <= most {
		return escape(s, "")
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return escape(s[:most], "") + "…"
}

func escape(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// when shows a time in UTC, to the second.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339Nano) + `">` + t.Format("2006-01-02 15:04:05") + `</time>`)
}

// age shows seconds as a duration.
func age(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// size shows a number of bytes.
func size(n int64) string {
	units, f, i := []string{"B", "KiB", "MiB", "GiB", "TiB"}, float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// orMore shows a count that the API ends at 100,000.
func orMore(n int64) string {
	if n >= 100_000 {
		return fmt.Sprint(n, " or more")
	}
	return fmt.Sprint(n)
}
