package deploy

import (
	"testing"

	"inturn/internal/program"
)

func TestMain(m *testing.M) { program.Main(m) }
