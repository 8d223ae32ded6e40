package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	reflector "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"inturn/functions/hook"
)

// The schema that is published is the one that the fields make. UPDATE_SCHEMA=1 writes it.
func TestSchemaIsOfTheFields(t *testing.T) {
	r := &reflector.Reflector{
		FieldNameTag: "yaml", ExpandedStruct: true, RequiredFromJSONSchemaTags: false, DoNotReference: true,
		Mapper: func(t reflect.Type) *reflector.Schema {
			if t == reflect.TypeFor[value]() {
				return &reflector.Schema{} // anything
			}
			return nil
		},
	}
	made := r.Reflect(&file{})
	made.ID, made.Title = "urn:inturn:config", "The configuration of inturn"
	made.Description = "What `inturn serve --config` reads. YAML; JSON is YAML too."
	oneSecret(made)
	want, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if os.Getenv("UPDATE_SCHEMA") != "" {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("schema.json"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("schema.json is not what the fields make (%v): UPDATE_SCHEMA=1 go test ./config", err)
	}
	for _, name := range hook.Verifiers() {
		if !bytes.Contains(want, []byte(`"`+name+`"`)) {
			t.Errorf("the schema does not know %s", name)
		}
	}
}

// oneSecret adds what tags can't say: an entry names its secret in one way, and a hook must.
func oneSecret(s *reflector.Schema) {
	required := func(name string) *reflector.Schema { return &reflector.Schema{Required: []string{name}} }
	for _, list := range []string{"functions", "hooks"} {
		p, _ := s.Properties.Get(list)
		if list == "hooks" {
			p.Items.OneOf = []*reflector.Schema{required("secret_env"), required("secret_file")}
		} else {
			p.Items.Not = &reflector.Schema{Required: []string{"secret_env", "secret_file"}}
		}
	}
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:inturn:config", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:inturn:config")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate says what the schema says of a YAML text.
func validate(s *jsonschema.Schema, text string) error {
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// What Load takes the schema takes, and what the schema can know to be wrong it refuses.
func TestSchemaAndLoadAgree(t *testing.T) {
	s := compiled(t)
	for _, text := range []string{whole, "{}", "functions: []",
		someFunction + "rate: 1/h\n    secret_env: GREET_SECRET", someSchedule + "cron: \"@every 1h30m\"\n    payload: 7",
		someHook + "verify: hmac-sha256\n    secret_env: GITHUB_SECRET\n    header: X-S\n    encoding: base64\n    message_id: /id"} {
		if _, err := loadText(t, text); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
		if err := validate(s, text); err != nil {
			t.Errorf("the schema refuses\n%s\n%v", text, err)
		}
	}
	for _, text := range []string{"- x", "function: []", "functions: 1", "functions:\n  - type: t", "functions:\n  - type: 7\n    url: https://e.com",
		"functions:\n  - type: t\n    url: https://e.com\n    uri: x", someFunction + "max_concurrent: 0", someFunction + "max_concurrent: 1.5",
		someFunction + "timeout: 30", someFunction + "timeout: \"30\"", someFunction + "rate: 100/d", someFunction + "secret_env: whsec_MDEy=",
		someFunction + "secret_env: A\n    secret_file: b", someFunction + "policy: {atempts: 3}", someFunction + "policy: {attempts: 0}",
		someFunction + "policy: {jitter: 2}", someFunction + "policy: {exhausted: retry}", someSchedule + "cron: \"@daily\"",
		someSchedule + "cron: \"@daily\"\n    payload: {}\n    missed: some", someHook + "verify: github", someHook + "verify: git\n    secret_env: A",
		someHook + "verify: github\n    secret_env: A\n    message_id: id"} {
		if err := validate(s, text); err == nil {
			t.Errorf("the schema takes\n%s", text)
		}
		if _, err := loadText(t, text); err == nil {
			t.Errorf("Load takes\n%s", text)
		}
	}
	if !strings.Contains(string(Schema()), `"additionalProperties": false`) {
		t.Error("the schema takes unknown fields")
	}
}
