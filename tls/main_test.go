package tls

import (
	"testing"

	"go.uber.org/goleak"

	"inturn/internal/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pebble.Leftovers()...) }
