package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// schema is the JSON Schema of a payload, as far as it is shown. It is printed as JSON as
// it came.
type schema struct {
	text       json.RawMessage
	Type       string             `json:"type"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
}

// UnmarshalJSON keeps the text beside what is shown of it. A schema that says more than
// is read here, such as several types, is shown as anything.
func (s *schema) UnmarshalJSON(text []byte) error {
	type plain schema
	var p plain
	if json.Unmarshal(text, &p) != nil {
		p = plain{}
	}
	*s = schema(p)
	s.text = slices.Clone(text)
	return nil
}

// MarshalJSON returns the text that came.
func (s *schema) MarshalJSON() ([]byte, error) { return s.text, nil }

// String returns a sketch, such as {phone: string, nick?: string}; "" where s is nil.
func (s *schema) String() string {
	switch {
	case s == nil:
		return ""
	case s.Type == "":
		return "any JSON"
	case s.Type == "array" && s.Items != nil:
		return "[" + s.Items.String() + "]"
	case s.Type == "object" && len(s.Properties) > 0:
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			optional := "?"
			if slices.Contains(s.Required, name) {
				optional = ""
			}
			fields = append(fields, name+optional+": "+s.Properties[name].String())
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	return s.Type
}
