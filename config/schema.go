package config

import _ "embed"

// schema is schema.json, which a test makes.
//
//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of a file, for editors. It is made from the
// fields; what a schema can't say (that a name is unique, that a secret is set) Load says.
func Schema() []byte { return schema }
