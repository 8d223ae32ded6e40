package sqlite

import (
	"bytes"
	"log/slog"
	"testing"
)

// A new file and one that was there before are marked as long as they are open: nothing is
// said about locks that are gone.
func TestAFileIsMarkedFromTheStart(t *testing.T) {
	path := tempFile(t)
	for _, id := range []string{"new", "there before"} {
		var log bytes.Buffer
		o := options(t, path)
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		d := open(t, o)
		appendEvent(t, d, event("a", id))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(log.Bytes(), []byte("level=ERROR")) {
			t.Errorf("the log says %s", &log)
		}
	}
}
