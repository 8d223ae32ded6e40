package cli

import (
	"strings"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "-5m": -5 * time.Minute,
		"1d": day, "30d": 30 * day, "2w": 14 * day, "1w2d12h": 9*day + 12*time.Hour, "1d500ms": day + 500*time.Millisecond,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "1x", "-1d", "1d-1h", "1d1w", "1.5d", "d1", "1dd", "106752d", "99999999999999999999d", "4294967295w", "106751d24h", "30 d"} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), "such as") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}
