package logs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestJSON(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(JSON(&buf, slog.LevelInfo))
	const odd = "a\u202eb\u2066c\u200b\u0085\u2028\x7f\x1b[2J\U000e0001\ufeff \"é日本語😀\""
	log.With("drain", 90*time.Second).WithGroup("g").Info(odd, odd, odd, "d", 1500*time.Microsecond)
	log.Debug("not this")
	line, err := buf.ReadString('\n')
	if err != nil || buf.Len() > 0 {
		t.Fatalf("%q, %v, then %q", line, err, buf.String())
	}
	if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("byte %d of the line can't be seen: %q", i, line)
	}
	if !strings.Contains(line, "é日本語😀") {
		t.Errorf("letters are escaped: %s", line)
	}
	var got struct {
		Msg, Drain string
		G          map[string]string
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if got.Msg != odd || got.G[odd] != odd {
		t.Errorf("read back: %q", got)
	}
	if got.Drain != "1m30s" || got.G["d"] != "1.5ms" {
		t.Errorf("durations are %q and %q", got.Drain, got.G["d"])
	}
}

func BenchmarkJSON(b *testing.B) {
	log := slog.New(JSON(discard{}, slog.LevelInfo))
	b.ReportAllocs()
	for b.Loop() {
		log.Info("request", "client_id", "client00000000000000000000000000", "status", 202, "took", time.Millisecond)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
