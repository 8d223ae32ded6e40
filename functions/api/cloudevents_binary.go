package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"inturn/functions/cloudevents"
)

// body takes a request in binary mode (CloudEvents HTTP binding 1.0.2, section
// 3.1): attributes are headers, the body is data.
func (c *cloudEvent) body(h http.Header, data []byte) error {
	var names []string
	for name := range h {
		if strings.HasPrefix(name, "Ce-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, header := range names {
		name := strings.ToLower(strings.TrimPrefix(header, "Ce-"))
		switch {
		case len(h[header]) > 1:
			return field("/"+pointerToken(name), "is given more than once")
		case name == "datacontenttype":
			return field("/datacontenttype", "must be given as Content-Type")
		case name == "data":
			return field("/data", "is the body in binary mode: leave ce-data out")
		}
		text := cloudevents.HeaderText(name, h[header][0])
		if err := cmp.Or(checkAttribute(name, text), c.attribute(name, text, appendText(nil, text))); err != nil {
			return err
		}
	}
	if contentType := h.Get("Content-Type"); contentType != "" && len(data) > 0 { // else there is nothing that has this type
		if err := c.attribute("datacontenttype", contentType, appendText(nil, contentType)); err != nil {
			return err
		}
	}
	if len(data) == 0 {
		return nil
	}
	var err error
	c.data, err = compactPayload(data)
	return err
}
