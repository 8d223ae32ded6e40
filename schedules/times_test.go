package schedules

import (
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"pgregory.net/rapid"
)

func mustParse(t testing.TB, text, zone string) Times {
	t.Helper()
	s, err := Parse(text, zone)
	if err != nil {
		t.Fatalf("%q in %q: %v", text, zone, err)
	}
	return s
}

// ticks lists those after from, up to to, as text in UTC.
func ticks(s Times, from, to string) string {
	var all []string
	end, _ := time.Parse(time.RFC3339, to)
	at, _ := time.Parse(time.RFC3339, from)
	for at = s.Next(at); !at.IsZero() && !at.After(end); at = s.Next(at) {
		all = append(all, at.Format("01-02T15:04Z"))
	}
	return strings.Join(all, " ")
}

// What happens where clocks change, by cases that were worked out by hand. Berlin changes
// at 01:00 UTC on 29 March and 25 October 2026, New York at 07:00 UTC on 8 March and 06:00
// UTC on 1 November, Lord Howe by half an hour at 15:30 UTC on 3 October and 15:00 UTC on 4 April.
func TestClocksThatChange(t *testing.T) {
	for _, c := range []struct{ cron, zone, from, to, want string }{
		// In the hour that is skipped: at its end, once, also if it has several times.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", "03-28T01:30Z 03-29T01:00Z 03-30T00:30Z"},
		{"*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-30T00:15:00Z", "03-29T01:00Z 03-30T00:00Z"},
		{"30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z", "03-29T01:00Z 03-29T01:30Z"},
		{"0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z", "03-29T01:00Z"},
		{"30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", "2026-03-09T12:00:00Z", "03-08T07:00Z 03-09T06:30Z"},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-04T20:00:00Z", "10-03T15:30Z 10-04T15:15Z"},
		// In the hour that comes twice: the first time.
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", "10-25T00:30Z 10-26T01:30Z"},
		{"30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", "2026-11-02T12:00:00Z", "11-01T05:30Z 11-02T06:30Z"},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-05T20:00:00Z", "04-04T14:45Z 04-05T15:15Z"},
		// Of every hour: as often as there are hours.
		{"30 * * * *", "Europe/Berlin", "2026-03-28T23:50:00Z", "2026-03-29T03:00:00Z", "03-29T00:30Z 03-29T01:30Z 03-29T02:30Z"},
		{"30 * * * *", "Europe/Berlin", "2026-10-24T23:50:00Z", "2026-10-25T03:00:00Z", "10-25T00:30Z 10-25T01:30Z 10-25T02:30Z"},
		{"0 */2 * * *", "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z", "03-28T23:00Z 03-29T02:00Z 03-29T04:00Z"},
		// Midnight that does not exist: Beirut skips it on 29 March 2026.
		{"0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", "03-28T22:00Z 03-29T21:00Z"},
		{"10 * 29 3 *", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "03-28T22:10Z 03-28T23:10Z 03-29T00:10Z"},
		// Without changes.
		{"@every 6h", "", "2026-03-29T01:00:00Z", "2026-03-29T18:00:00Z", "03-29T06:00Z 03-29T12:00Z 03-29T18:00Z"},
		{"@daily", "", "2026-03-29T01:00:00Z", "2026-03-31T00:00:00Z", "03-30T00:00Z 03-31T00:00Z"},
		{"0 12 13 * 5", "", "2026-02-10T00:00:00Z", "2026-02-21T00:00:00Z", "02-13T12:00Z 02-20T12:00Z"},
		{"0 12 29 2 *", "", "2026-02-10T00:00:00Z", "2029-01-01T00:00:00Z", "02-29T12:00Z"},
		{"0 12 29 2 *", "", "2097-01-01T00:00:00Z", "2104-12-31T00:00:00Z", "02-29T12:00Z"},
	} {
		if got := ticks(mustParse(t, c.cron, c.zone), c.from, c.to); got != c.want {
			t.Errorf("%s in %s:\n got %s\nwant %s", c.cron, c.zone, got, c.want)
		}
	}
}

func TestTimesThatAreRefused(t *testing.T) {
	for _, c := range []struct{ cron, zone, want string }{
		{"", "", "five"}, {"* * * *", "", "five"}, {"0 3 * * * *", "", "five"}, {"60 * * * *", "", "maximum"}, {"x * * * *", "", "cron: "},
		{"0 0 30 2 *", "", "never"}, {"0 0 31 4,6 *", "", "never"}, {", * * * *", "", "never"}, {"*/0 * * * *", "", "positive"},
		{"TZ=Europe/Berlin 0 3 * *", "", "timezone"}, {"TZ= * * * *", "", "timezone"}, {"CRON_TZ=UTC 0 3 * * *", "", "five"},
		{"@reboot", "", "five"}, {"@every", "", "five"}, {"@every 10", "", "@every"}, {"@every 0s", "", "@every"}, {"@every 1500ms", "", "@every"},
		{"@every -1h", "", "@every"}, {"@every 8785h", "", "@every"},
		{"0 3 * * *", "Local", "timezone"}, {"0 3 * * *", "Mars/Olympus", "timezone"}, {"0 3 * * *", "../../etc/passwd", "timezone"}, {"@every 1h", "nowhere", "timezone"},
	} {
		if s, err := Parse(c.cron, c.zone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: %+v, %v, want an error with %q", c.cron, c.zone, s, err, c.want)
		}
	}
}

// cronText draws five fields.
func cronText(t *rapid.T) string {
	field := func(name string, low, high int) string {
		n := rapid.IntRange(low, high)
		switch rapid.IntRange(0, 4).Draw(t, name) {
		case 0:
			return "*"
		case 1:
			return "*/" + itoa(rapid.IntRange(1, 9).Draw(t, name))
		case 2:
			a, b := n.Draw(t, name), n.Draw(t, name)
			return itoa(min(a, b)) + "-" + itoa(max(a, b))
		case 3:
			return itoa(n.Draw(t, name)) + "," + itoa(n.Draw(t, name))
		}
		return itoa(n.Draw(t, name))
	}
	return strings.Join([]string{field("minute", 0, 59), field("hour", 0, 23), field("day", 1, 31), field("month", 1, 12), field("weekday", 0, 6)}, " ")
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

// Where no clock changes the ticks are those of the library. (Of "*/n" in the field of
// days it thinks otherwise than crons do, so that is left out.)
func TestNextIsTheLibrarysInUTC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := cronText(t)
		if f := strings.Fields(text); strings.HasPrefix(f[2], "*/") || strings.HasPrefix(f[4], "*/") {
			t.Skip()
		}
		s, err := Parse(text, "")
		if err != nil {
			t.Skip()
		}
		want, err := cron.ParseStandard("TZ=UTC " + text)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(1_700_000_000, 1_900_000_000).Draw(t, "from"), 0).UTC()
		for range 20 {
			next := s.Next(at)
			library := want.Next(at) // it looks five years ahead only
			if !library.IsZero() && !next.Equal(library) {
				t.Fatalf("%s after %v: %v, the library: %v", text, at, next, library)
			}
			at = next
		}
	})
}

// Where clocks change the ticks are those of a clock on the wall that is looked at each
// minute of 40 days.
func TestNextIsAClocksOnTheWall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Santiago", "Africa/Casablanca"}).Draw(t, "zone")
		text := cronText(t)
		s, err := Parse(text, zone)
		if err != nil {
			t.Skip()
		}
		year := rapid.IntRange(2020, 2030).Draw(t, "year")
		from := time.Date(year, 1, rapid.IntRange(1, 365).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		to := from.AddDate(0, 0, 40)
		at := from
		for _, want := range watched(s, from, to) {
			next := s.Next(at)
			if !next.Equal(want) {
				t.Fatalf("%s in %s after %v: %v, the clock: %v", text, zone, at, next, want)
			}
			at = next
		}
		if next := s.Next(at); !next.IsZero() && next.Before(to) {
			t.Fatalf("%s in %s: %v is none of the clock's", text, zone, next)
		}
	})
}

// watched finds the ticks in (from, to) from what the clock shows each minute.
func watched(s Times, from, to time.Time) (all []time.Time) {
	const minute = time.Minute
	due := func(wall time.Time) bool {
		return has(s.minutes, wall.Minute()) && has(s.hours, wall.Hour()) && s.onDay(wall.Date())
	}
	shown := func(at time.Time) time.Time { // what the clock shows, as if it were UTC
		l := at.In(s.zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	latest := shown(from.Add(-maxChange)) // the latest time that was shown so far
	for at := from.Add(-maxChange); at.Before(to); at = at.Add(minute) {
		wall, tick := shown(at), false
		if s.everyHour {
			tick = due(wall)
		} else {
			for w := latest.Add(minute); !w.After(wall); w = w.Add(minute) {
				tick = tick || due(w) // also those that were skipped
			}
		}
		if wall.After(latest) {
			latest = wall
		}
		if tick && at.After(from) {
			all = append(all, at)
		}
	}
	return all
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0 3 * * *", "*/5 1-4 1,15 jan-mar mon", "@every 10m", "@daily", "TZ=UTC * * * * *", "60 * * * *", "0 0 30 2 *"} {
		f.Add(s, "Europe/Berlin", int64(1_790_000_000))
	}
	f.Fuzz(func(t *testing.T, text, zone string, unix int64) {
		s, err := Parse(text, zone)
		if err != nil {
			return
		}
		at := time.Unix(unix%(1<<33), 0)
		for range 3 {
			next := s.Next(at)
			if !next.After(at) {
				t.Fatalf("%q in %q: %v after %v", text, zone, next, at)
			}
			at = next
		}
	})
}
