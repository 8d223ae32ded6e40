package drain_test

import (
	"testing"
	"time"

	"inturn/db/internal/drain"
)

func TestRate(t *testing.T) {
	var p drain.Rate
	begin := time.Unix(1000, 0)
	for i := range 12 {
		p.Note(begin.Add(time.Duration(i)*time.Second), 100-i, 10)
		p.Note(begin.Add(time.Duration(i)*time.Second+time.Millisecond), 100-i, 20)
	}
	for after, want := range map[time.Duration]float64{
		12 * time.Second: 30, 11 * time.Second: 30, 17 * time.Second: 15, time.Hour: 0,
	} {
		if n, rate := p.At(begin.Add(after)); n != 89 || rate != want {
			t.Errorf("after %v: %d, %v/s, want %v", after, n, rate, want)
		}
	}
}
