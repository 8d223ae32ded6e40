package schedules

import (
	"strings"
	"testing"
	"time"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, "2026-06-01T"+text+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		missed        Missed
		last, up, now string
		want          string
		left          int
	}{
		// In time, whatever is made up for.
		{None, "10:00:00", "09:00:00", "10:00:59", "", 0},
		{None, "10:00:00", "09:00:00", "10:01:00", "10:01", 0},
		{Last, "10:00:00", "09:00:00", "10:01:00", "10:01", 0},
		{All, "10:00:00", "09:00:00", "10:01:59", "10:01", 0},
		{All, "10:00:00", "09:00:00", "10:00:00", "", 0},
		{All, "10:00:00", "09:00:00", "09:00:00", "", 0}, // the clock was set back
		// Nothing was running from 10:00 until 10:05:30.
		{None, "10:00:00", "10:05:30", "10:05:30", "", 5},
		{Last, "10:00:00", "10:05:30", "10:05:30", "10:05", 4},
		{All, "10:00:00", "10:05:30", "10:05:30", "10:01 10:02 10:03 10:04 10:05", 0},
		// And it took until 10:06:10 to come this far.
		{None, "10:00:00", "10:05:30", "10:06:10", "10:06", 5},
		{Last, "10:00:00", "10:05:30", "10:06:10", "10:05 10:06", 4},
		// A tick at the very moment of the start was missed.
		{None, "10:00:00", "10:01:00", "10:01:00", "", 1},
		{Last, "10:00:00", "10:01:00", "10:01:00", "10:01", 0},
		// The machine slept from 10:00 until 10:05:30: what is later than Grace was missed.
		{None, "10:00:00", "09:00:00", "10:05:30", "10:05", 4},
		{Last, "10:00:00", "09:00:00", "10:05:30", "10:04 10:05", 3},
		{All, "10:00:00", "09:00:00", "10:05:30", "10:01 10:02 10:03 10:04 10:05", 0},
	} {
		s := Schedule{Name: "n", Times: mustParse(t, "* * * * *", ""), Missed: c.missed}
		due, left := s.Due(at(c.last), at(c.up), at(c.now))
		var got []string
		for _, tick := range due {
			got = append(got, tick.Format("15:04"))
		}
		if strings.Join(got, " ") != c.want || left != c.left {
			t.Errorf("%s, last %s, up %s, now %s: %q, %d left out, want %q, %d", c.missed, c.last, c.up, c.now, got, left, c.want, c.left)
		}
	}
}

// However long the stop was, so many are made up for: the newest.
func TestMissedIsBounded(t *testing.T) {
	now := at("10:00:30")
	s := Schedule{Name: "n", Times: mustParse(t, "* * * * *", ""), Missed: All}
	for _, stop := range []time.Duration{(MaxMissed - 1) * time.Minute, (MaxMissed + 1) * time.Minute, 30 * 24 * time.Hour, 20 * MaxAge} {
		due, left := s.Due(now.Add(-stop), now, now)
		all := int(min(stop, MaxAge) / time.Minute)
		if want := min(all, MaxMissed); len(due) != want || left != all-want {
			t.Fatalf("after %v: %d ticks, %d left out of %d", stop, len(due), left, all)
		}
		for i, tick := range due {
			if want := at("10:00:00").Add(time.Duration(i+1-len(due)) * time.Minute); !tick.Equal(want) {
				t.Fatalf("after %v tick %d is %v, want %v", stop, i, tick, want)
			}
		}
		if newest := s.newest(now); len(newest) != MaxMissed || !newest[0].Equal(at("10:00:00").Add((1-MaxMissed)*time.Minute)) || !newest[MaxMissed-1].Equal(at("10:00:00")) {
			t.Fatalf("%d newest", len(newest))
		}
	}
	rare := Schedule{Times: mustParse(t, "0 0 1 * *", "")}
	if got := rare.newest(now); len(got) != 12 && len(got) != 13 {
		t.Errorf("%d newest of a monthly one, want those of a year", len(got))
	}
}

func TestIdentity(t *testing.T) {
	zone, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	tick := at("10:00:00").In(zone)
	if id := (Schedule{Name: "nightly"}).MessageID(tick); id != "nightly@2026-06-01T10:00:00Z" {
		t.Errorf("%q", id)
	}
	for _, name := range []string{"nightly", "a b", "Ümlaut", strings.Repeat("x", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a@b", "a\nb", "a\u0085", strings.Repeat("x", MaxName+1)} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
