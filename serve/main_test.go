package serve

import (
	"testing"

	"inturn/internal/pebble"
	"inturn/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, pebble.Leftovers()...) }
