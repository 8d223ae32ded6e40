package sqlite

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"inturn/db"
)

// What finds no room several times is said once, and so is the room afterwards.
func TestFullIsSaidOnce(t *testing.T) {
	var log bytes.Buffer
	again := 0
	s := &space{dir: t.TempDir(), log: slog.New(slog.NewTextHandler(&log, nil)), again: func() { again++ }}
	for range 2 {
		for range 3 {
			s.full(db.ErrStorageFull)
		}
		for range 3 {
			s.wrote()
		}
	}
	full, room := strings.Count(log.String(), "the disk is full: events are refused"), strings.Count(log.String(), "there is room on the disk again")
	if full != 2 || room != 2 || again != 2 || !strings.Contains(log.String(), "needed=") {
		t.Errorf("said %d and %d times, told %d times:\n%s", full, room, again, &log)
	}
}
