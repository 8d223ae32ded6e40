package api

import (
	"mime"
	"net/http"
	"strings"
)

// form is how the body of POST /v1/events is to be read.
type form int

const (
	plainForm      form = iota // one event, or an array of events
	linesForm                  // NDJSON: an event a line
	cloudForm                  // one CloudEvent, structured
	cloudBatchForm             // an array of CloudEvents
	cloudBodyForm              // one CloudEvent, binary: attributes in ce-* headers, the body is its data
)

// Media types that are taken.
const (
	typeJSON       = "application/json"
	typeForm       = "application/x-www-form-urlencoded" // what curl says by default
	typeLines      = "application/x-ndjson"
	typeCloud      = "application/cloudevents+json"
	typeCloudBatch = "application/cloudevents-batch+json"
)

// accepted is what a 415 lists.
const accepted = typeJSON + ", " + typeLines + ", " + typeCloud + ", " + typeCloudBatch

// formOf tells the form by the headers. JSON is taken also when it is not named as
// such or named as curl does by default.
func formOf(h http.Header) (form, error) {
	for _, encoding := range h["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return 0, mediaType.withDetail("Content-Encoding %.50q is not taken: send the body as it is", encoding)
		}
	}
	contentType := h.Get("Content-Type")
	binary := h["Ce-Specversion"] != nil || h["Ce-Id"] != nil // either alone is a mistake worth naming
	if (contentType == "" || contentType == typeJSON) && !binary {
		return plainForm, nil
	}
	media, params := "", map[string]string(nil)
	if contentType != "" {
		var err error
		if media, params, err = mime.ParseMediaType(contentType); err != nil {
			return 0, mediaType.withDetail("Content-Type %.100q can't be read: send %s", contentType, accepted)
		}
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return 0, mediaType.withDetail("charset %.50q is not taken: send UTF-8", c)
	}
	// Structured mode goes first: its headers may repeat the attributes (CloudEvents
	// HTTP binding 1.0.2, section 3).
	switch {
	case media == typeCloud:
		return cloudForm, nil
	case media == typeCloudBatch:
		return cloudBatchForm, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return 0, mediaType.withDetail("Content-Type %.100q is not taken: send CloudEvents in JSON, as %s or %s", contentType, typeCloud, typeCloudBatch)
	case binary && (media == "" || isJSON(media)):
		return cloudBodyForm, nil
	case binary:
		return 0, mediaType.withDetail("the data of a CloudEvent must be JSON here, not %.100q", contentType)
	case media == typeJSON, media == typeForm:
		return plainForm, nil
	case media == typeLines:
		return linesForm, nil
	}
	return 0, mediaType.withDetail("Content-Type %.100q is not taken: send %s", contentType, accepted)
}

// isJSON follows RFC 6839, section 3.1, and CloudEvents' JSON format, section 3.1.
func isJSON(media string) bool {
	return media == typeJSON || media == "text/json" || strings.HasSuffix(media, "+json")
}
