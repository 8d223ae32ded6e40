package sqlite

import _ "embed"

// schema makes the tables of a new file, of version file.SchemaVersion.
//
//go:embed schema.sql
var schema string
