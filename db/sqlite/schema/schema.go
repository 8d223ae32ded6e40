// Package schema has the SQL that makes an empty SQLite file inturn's. Its source is
// schema.sql beside go.mod; go:embed reaches no folder above, so go generate copies it.
package schema

import _ "embed"

//go:generate cp ../../../schema.sql schema.sql

// SQL is the text of schema.sql.
//
//go:embed schema.sql
var SQL string
