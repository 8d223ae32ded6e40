package sqlite

import _ "embed"

// schema is what a new file is made of: a file of version schemaVersion.
//
//go:embed schema.sql
var schema string
