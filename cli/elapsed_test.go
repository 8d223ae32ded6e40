package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// seen passes on what is written, and says when there was something.
type seen struct {
	bytes.Buffer
	first chan struct{}
}

func (s *seen) Write(p []byte) (int, error) {
	if s.Len() == 0 {
		close(s.first)
	}
	return s.Buffer.Write(p)
}

func TestElapsed(t *testing.T) {
	w := &seen{first: make(chan struct{})}
	end := showElapsed(w, "checking", time.Millisecond)
	<-w.first
	end()
	end()
	if got := w.String(); !strings.HasPrefix(got, eraseLine+"checking: 0s") || !strings.HasSuffix(got, eraseLine) {
		t.Errorf("shown %q", got)
	}
	var quick bytes.Buffer
	showElapsed(&quick, "checking", time.Hour)()
	elapsed(&quick, "checking")() // no terminal
	if quick.Len() > 0 {
		t.Errorf("shown %q", quick.String())
	}
}
