package schema

import (
	"os"
	"testing"
)

func TestTheCopyIsTheSource(t *testing.T) {
	source, err := os.ReadFile("../../../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	if SQL != string(source) {
		t.Error("schema.sql beside go.mod has changed: run `go generate ./db/sqlite/schema`")
	}
}
