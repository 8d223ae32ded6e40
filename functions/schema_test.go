package functions

import (
	"context"
	"encoding/json"
	"testing"
	"time"
)

type part struct {
	SKU   string `json:"sku"`
	Count uint8  `json:"count,omitzero"`
}

type common struct {
	At *time.Time `json:"at"`
}

type ordered struct {
	common
	Parts  []part             `json:"parts"`
	Prices map[string]float64 `json:"prices"`
	Extra  json.RawMessage    `json:"extra"`
	Blob   []byte
	Gift   bool `json:"gift"`
	Secret int  `json:"-"`
	hidden int
	Next   *ordered `json:"next"`
}

func nothing[P any](context.Context, Event, P) (Effect, error) { return nil, nil }

func TestSchemaOfAPayload(t *testing.T) {
	_ = ordered{}.hidden // unexported fields are left out
	for _, c := range []struct {
		f    Function
		want string
	}{
		{New("a", nothing[json.RawMessage]), `{}`},
		{New("b", nothing[any]), `{}`},
		{New("c", nothing[part]), `{"properties":{"count":{"type":"integer"},"sku":{"type":"string"}},"type":"object"}`},
		{New("d", nothing[part], PayloadSchema(`{"type": "object", "required": ["sku"]}`)), `{"type":"object","required":["sku"]}`},
	} {
		if got := string(c.f.Schema()); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.f.Name(), got, c.want)
		}
	}
	var got struct {
		Properties map[string]map[string]any
	}
	if err := json.Unmarshal(New("e", nothing[ordered]).Schema(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"at": "string", "parts": "array", "prices": "object", "extra": nil, "Blob": "string", "gift": "boolean", "next": "object"} {
		if p, ok := got.Properties[name]; !ok || p["type"] != want {
			t.Errorf("%s: %v, want type %v", name, p, want)
		}
	}
	if len(got.Properties) != 7 {
		t.Errorf("properties: %v", got.Properties)
	}
}

func TestSchemaMustBeAnObject(t *testing.T) {
	for _, schema := range []string{`{`, `[]`, `true`, ``} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New took the schema %q", schema)
				}
			}()
			New("a", nothing[part], PayloadSchema(schema))
		}()
	}
}
