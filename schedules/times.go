package schedules

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // images without a system have no zones

	"github.com/robfig/cron/v3"
)

// Times are the points in time at which a schedule ticks. The zero value has none.
type Times struct {
	every time.Duration // 0: the fields below
	zone  *time.Location

	minutes, hours, days, months, weekdays uint64 // bits

	everyHour              bool // the field of hours begins with a star
	everyDay, everyWeekday bool // the fields of days and of weekdays do
}

// equal reports whether two have the same ticks by the same words.
func (s Times) equal(o Times) bool {
	if s.zone != nil && o.zone != nil && s.zone.String() == o.zone.String() {
		s.zone = o.zone // time.LoadLocation makes a new one each time
	}
	return s == o
}

// MaxEvery bounds the duration of @every.
const MaxEvery = 366 * 24 * time.Hour

// Parse reads five fields of cron (minute, hour, day of the month, month, weekday), a name
// such as (@hourly, @daily, @weekly, @monthly, @yearly), or "@every" and a duration of
// whole seconds. timezone is a name of the IANA database; "" is UTC. Times that never come,
// such as 30 February, are refused.
func Parse(text, timezone string) (Times, error) {
	zone, err := parseZone(timezone)
	if err != nil {
		return Times{}, err
	}
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		return parseEvery(strings.TrimSpace(every))
	}
	if named, ok := names[text]; ok {
		text = named
	}
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return Times{}, fmt.Errorf(`cron: has %d fields and must have five (minute, hour, day, month, weekday), such as "0 3 * * *", or be @every 10m`, len(fields))
	}
	// The zone is no part of it: the parser panics at some that are malformed.
	if strings.Contains(fields[0], "=") {
		return Times{}, errors.New("cron: must not name a time zone: write timezone")
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(strings.Join(fields, " "))
	if err != nil {
		return Times{}, fmt.Errorf("cron: %w", err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return Times{}, errors.New("cron: can't be read")
	}
	t := Times{
		zone: zone, minutes: spec.Minute, hours: spec.Hour, days: spec.Dom, months: spec.Month, weekdays: spec.Dow,
		everyHour: star(fields[1]), everyDay: star(fields[2]), everyWeekday: star(fields[4]),
	}
	if t.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Times{}, errors.New("cron: this time never comes")
	}
	return t, nil
}

var names = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

func parseZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New("timezone: must be a name such as Europe/Berlin: Local differs between machines")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("timezone: is not known: write a name such as Europe/Berlin, or leave it out for UTC")
	}
	return zone, nil
}

func parseEvery(text string) (Times, error) {
	every, err := time.ParseDuration(text)
	if err != nil || every < time.Second || every > MaxEvery || every%time.Second != 0 {
		return Times{}, errors.New("cron: @every must be followed by whole seconds, from 1s to 8784h, such as 10m")
	}
	return Times{every: every}, nil
}

// star reports whether a field stands for all, or for each nth.
func star(field string) bool { return field[0] == '*' || field[0] == '?' }

// maxDays is how far Next looks: 29 February is missing for eight years around 2100.
const maxDays = 8*366 + 1

// Next returns the first tick after t, in UTC; the zero Time if there is none.
func (s Times) Next(t time.Time) time.Time {
	switch {
	case s.every > 0:
		seconds := int64(s.every / time.Second)
		n := t.Unix() / seconds
		if t.Unix() < 0 && t.Unix()%seconds != 0 {
			n--
		}
		return time.Unix((n+1)*seconds, 0).UTC()
	case s.zone == nil:
		return time.Time{}
	case s.everyHour:
		return s.nextElapsed(t)
	}
	return s.nextFixed(t)
}

// nextElapsed looks at each minute that really comes.
func (s Times) nextElapsed(t time.Time) time.Time {
	end := t.AddDate(0, 0, maxDays)
	for at := t.Truncate(time.Minute).Add(time.Minute); at.Before(end); {
		local := at.In(s.zone)
		year, month, day := local.Date()
		if !s.onDay(year, month, day) {
			// Midnight may not exist; then the minutes find the new day.
			if midnight := time.Date(year, month, day+1, 0, 0, 0, 0, s.zone); midnight.After(at) {
				at = midnight
				continue
			}
		} else if has(s.hours, local.Hour()) && has(s.minutes, local.Minute()) {
			return at.UTC()
		}
		at = at.Add(time.Minute)
	}
	return time.Time{}
}

// maxChange is more than clocks are ever changed by.
const maxChange = 3 * time.Hour

// nextFixed looks at each time of day that the clock on the wall should show. In these
// loops a time "on the wall" is in UTC, as if there were no zones.
func (s Times) nextFixed(t time.Time) time.Time {
	local := t.In(s.zone)
	_, offset := local.Zone()
	from := t.UTC().Add(time.Duration(offset)*time.Second - maxChange)
	year, month, day := from.Date()
	for n := range maxDays {
		midnight := time.Date(year, month, day+n, 0, 0, 0, 0, time.UTC)
		if !s.onDay(midnight.Date()) {
			continue
		}
		for hour := range 24 {
			if !has(s.hours, hour) || midnight.Add(time.Duration(hour+1)*time.Hour).Before(from) {
				continue
			}
			for minute := range 60 {
				if !has(s.minutes, minute) {
					continue
				}
				wall := midnight.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
				if tick := s.instant(wall); tick.After(t) {
					return tick.UTC()
				}
			}
		}
	}
	return time.Time{}
}

// instant returns when the clock first shows wall, or, if it never does, the end of what
// it skips.
func (s Times) instant(wall time.Time) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(s.zone).Zone()
	_, after := wall.Add(24 * time.Hour).In(s.zone).Zone()
	for _, offset := range [...]int{before, after} {
		at := wall.Add(-time.Duration(offset) * time.Second).In(s.zone)
		if _, is := at.Zone(); is == offset {
			return at
		}
	}
	end, _ := wall.Add(-time.Duration(before) * time.Second).In(s.zone).ZoneBounds()
	return end
}

// onDay reports whether the date is one of the schedule's. Where both the day of the
// month and the weekday are named, either will do, as in every cron.
func (s Times) onDay(year int, month time.Month, day int) bool {
	if !has(s.months, int(month)) {
		return false
	}
	inMonth := has(s.days, day)
	inWeek := has(s.weekdays, int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday()))
	if s.everyDay || s.everyWeekday {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

func has(bits uint64, n int) bool { return bits&(1<<n) != 0 }
