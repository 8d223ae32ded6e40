// Package schedules makes events at the times that a configuration names.
//
//	Parse(cron, timezone) --> Times: when its ticks are, a pure function
//	Due(last, now)        --> the ticks that are due, a pure function
//	Actor                 --> appends an event for each, the ordinary way
//
// A tick has an identity: the event's message_id is the schedule's name, "@", and the
// tick in UTC (RFC 3339). Any number of processes may append it, and append it again;
// one event comes of it. So nothing is kept beside the events: after a start the last
// tick that was made is the newest one whose event the storage has.
//
// # Times
//
// Times are five fields of cron, or "@every" and a duration. A tick of @every is a
// multiple of its duration since 1970-01-01T00:00:00Z, which every process computes alike.
//
// Where a time zone's clocks change, times with fixed hours come once a day: in the hour
// that is skipped they come at its end, all as one tick, and in the hour that is
// repeated they come the first time. Times of every hour ("*" or "*/n" in the field of
// hours) follow the elapsed time: they come in both of the repeated hours and in none
// that is skipped. That is what the cron of Vixie and of ISC do.
package schedules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of a schedule.
const (
	MaxMissed = 1000 // ticks that Missed All makes up for after a stop, the newest
	MaxName   = 200  // bytes of a name; with "@" and a time it stays a message_id
	// MaxAge is how far back ticks are made up for, whatever the clock has done.
	MaxAge = 366 * 24 * time.Hour
	// Grace is how late a tick may be made while something is running before it counts as
	// missed: the machine was suspended, or its clock has jumped.
	Grace = time.Minute
)

// Missed says what becomes of the ticks for which nothing was running.
type Missed string

// What is made up for after a stop.
const (
	None Missed = "none" // nothing: a tick is made in time or not at all
	Last Missed = "last" // the newest missed tick
	All  Missed = "all"  // all missed ticks, at most the newest MaxMissed
)

// Schedule says when an event is to be made, and which.
type Schedule struct {
	Name     string // unique, 1 to MaxName bytes
	Times    Times
	Missed   Missed
	ClientID string
	Type     string
	Payload  json.RawMessage // compact JSON
}

// MessageID returns the identity of the event of a tick.
func (s Schedule) MessageID(tick time.Time) string {
	return s.Name + "@" + tick.UTC().Format(time.RFC3339)
}

// CheckName says what is wrong with a schedule's name: it begins message_ids, and "@"
// ends it there.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is missing or empty")
	case len(name) > MaxName:
		return fmt.Errorf("is longer than %d bytes", MaxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '@' || r < 0x20 || r >= 0x7f && r <= 0x9f }):
		return fmt.Errorf(`must not contain "@" or control characters`)
	}
	return nil
}

// Due returns the ticks in (last, now] for which an event is to be made, in order. Those up
// to the time up, since when this process runs, were missed, and so were those that are
// later than Grace: s.Missed decides what becomes of those. left is how many ticks are left out.
func (s Schedule) Due(last, up, now time.Time) (ticks []time.Time, left int) {
	if oldest := now.Add(-MaxAge); last.Before(oldest) {
		last = oldest
	}
	var missed, timely recent
	for tick := s.Times.Next(last); !tick.IsZero() && !tick.After(now); tick = s.Times.Next(tick) {
		if tick.After(up) && now.Sub(tick) <= Grace {
			timely.add(tick)
		} else {
			missed.add(tick)
		}
	}
	switch s.Missed {
	case All:
		ticks = missed.list()
	case Last:
		all := missed.list()
		ticks = all[max(len(all)-1, 0):]
	}
	left = missed.n - len(ticks)
	return append(ticks, timely.list()...), left
}

// newest returns the newest ticks up to now, oldest first: at most MaxMissed, none older
// than MaxAge.
func (s Schedule) newest(now time.Time) []time.Time {
	for age := time.Hour; ; age *= 2 {
		var r recent
		for tick := s.Times.Next(now.Add(-min(age, MaxAge))); !tick.IsZero() && !tick.After(now); tick = s.Times.Next(tick) {
			r.add(tick)
		}
		if r.n > MaxMissed || age >= MaxAge {
			return r.list()
		}
	}
}

// recent keeps the newest MaxMissed of the ticks that are added.
type recent struct {
	ticks []time.Time
	n     int // added in all
}

func (r *recent) add(t time.Time) {
	if len(r.ticks) < MaxMissed {
		r.ticks = append(r.ticks, t)
	} else {
		r.ticks[r.n%MaxMissed] = t
	}
	r.n++
}

// list returns what is kept, oldest first.
func (r *recent) list() []time.Time {
	if r.n <= MaxMissed {
		return r.ticks
	}
	at := r.n % MaxMissed
	return slices.Concat(r.ticks[at:], r.ticks[:at])
}
