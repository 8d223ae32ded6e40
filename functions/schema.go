package functions

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// PayloadSchema gives the JSON Schema of the function's payload, as `inturn types` and
// GET /v1/types show it. Without it the schema is made of the payload's Go type, which
// says nothing of what Check asks, such as which fields must be there. It is for readers:
// events are checked by Check alone.
func PayloadSchema(schema string) Option {
	return func(f *Function) { f.schema = json.RawMessage(schema) }
}

// Schema returns the JSON Schema of the function's payload, compact; {} allows anything.
func (f Function) Schema() json.RawMessage { return f.schema }

// compactSchema returns a schema that PayloadSchema gave, or that of the payload's type.
func compactSchema(given json.RawMessage, payload reflect.Type) (json.RawMessage, error) {
	if given == nil {
		return json.Marshal(schemaOf(payload, 0))
	}
	var out bytes.Buffer
	if err := json.Compact(&out, given); err != nil {
		return nil, fmt.Errorf("PayloadSchema: %w", err)
	}
	if out.Bytes()[0] != '{' {
		return nil, errors.New("PayloadSchema must be a JSON object")
	}
	return out.Bytes(), nil
}

// maxSchemaDepth ends types that contain themselves.
const maxSchemaDepth = 8

var (
	timeType        = reflect.TypeFor[time.Time]()
	marshalerType   = reflect.TypeFor[json.Marshaler]()
	textMarshalType = reflect.TypeFor[encoding.TextMarshaler]()
)

// schemaOf describes how a value of t is written in JSON; {} where that is the type's own.
func schemaOf(t reflect.Type, depth int) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case depth > maxSchemaDepth || t.Implements(marshalerType) || reflect.PointerTo(t).Implements(marshalerType):
		return map[string]any{}
	case t.Implements(textMarshalType) || reflect.PointerTo(t).Implements(textMarshalType):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Struct:
		fields := map[string]any{}
		addFields(fields, t, depth+1)
		if len(fields) == 0 {
			return map[string]any{"type": "object"}
		}
		return map[string]any{"type": "object", "properties": fields}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), depth+1)}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), depth+1)}
	}
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr {
		return map[string]any{"type": "integer"}
	}
	return map[string]any{}
}

// addFields adds the fields of a struct by their names in JSON, and those of embedded structs.
func addFields(fields map[string]any, t reflect.Type, depth int) {
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		switch {
		case tag == "-":
		case f.Anonymous && name == "" && embedded.Kind() == reflect.Struct && depth <= maxSchemaDepth:
			addFields(fields, embedded, depth+1)
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			fields[name] = schemaOf(f.Type, depth)
		}
	}
}
