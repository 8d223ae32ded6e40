package api

import (
	"net/http"
	"net/url"
	"strings"
)

// slashSegment stands for a segment of a path that is one slash, which ServeMux takes for
// the end of the path. No id has a control character.
const slashSegment = "\x00/"

// hideSlashes returns r, or a copy of it with slashSegment for each escaped segment that is
// one slash: ids may be that, and are reached by their path as any other.
func hideSlashes(r *http.Request) *http.Request {
	segments := strings.Split(r.URL.RawPath, "/")
	hidden := false
	for i, s := range segments {
		if strings.EqualFold(s, "%2F") {
			segments[i], hidden = url.PathEscape(slashSegment), true
		}
	}
	if !hidden {
		return r
	}
	u := *r.URL
	u.RawPath = strings.Join(segments, "/")
	u.Path, _ = url.PathUnescape(u.RawPath) // it was valid before
	copied := *r
	copied.URL = &u
	return &copied
}

// showSlashes undoes hideSlashes for the wildcards of a pattern.
func showSlashes(r *http.Request) {
	for rest := r.Pattern; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			return
		}
		name, after, _ := strings.Cut(after, "}")
		if r.PathValue(name) == slashSegment {
			r.SetPathValue(name, "/")
		}
		rest = after
	}
}
