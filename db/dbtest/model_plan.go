package dbtest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"
)

// fate is how an event ends in the end.
type fate string

const (
	done  fate = "done"
	dead  fate = "dead"
	parks fate = "parks" // fails for ever
)

// script is an event's payload: what its function does with it.
type script struct {
	Fate  fate   `json:"fate"`
	Fails []way  `json:"fails,omitempty"` // first attempts; from then on as Fate says
	Takes int    `json:"takes,omitempty"` // ms
	Emits string `json:"emits,omitempty"` // to this client, if it is done
	Later int    `json:"later,omitempty"` // seconds after it was first sent, at which what it emits is due
	Due   int64  `json:"due,omitempty"`   // that time in Unix microseconds: the same whenever it is accepted and run; 0: none
	Pad   string `json:"pad,omitempty"`
}

// way is how one attempt fails.
type way string

var ways = []way{"error", "hang", "ignore", "retry now", "retry later", "panic", "goexit", "effect error", "effect panic", "effect sql", "effect goexit"}

// step is one thing that a plan does.
type step struct {
	do    string
	sends []send        // of "send", at the same time for different clients
	which int           // of "repeat" and "conflict": the event, modulo what was sent; of "erase" the client; of a crash: after so many
	pause time.Duration // of "sleep"; of "restart" while nothing runs; of "retain" the age
	crash bool          // of "erase": in the middle
	acts  []order       // of "operate", at the same time
}

type send struct {
	client, typ string
	ahead       time.Duration // until it is due; 0: it has no DeliverAt
	script      script
}

type plan struct {
	hotBytes, slice, pollers int
	batch                    int
	lateListener             bool // the runner listens only once the engine has nothing to do by itself
	steps                    []step
}

// Where a crash can be made to come.
const (
	inEffect     = "crash in an effect"      // in the middle of a transaction
	beforeAnswer = "crash before the answer" // the commit is durable, and nobody knows
)

const (
	limit   = time.Minute   // of an attempt
	ignored = 3 * limit / 2 // what one takes that ignores its limit
)

// fails is how this attempt fails, "" if it doesn't.
func (s script) fails(attempt int) way {
	if attempt <= len(s.Fails) {
		return s.Fails[attempt-1]
	}
	return ""
}

var clients = []string{"a", "b", "c", "d", "e", "f"}

func drawPlan(t *rapid.T, durable bool) plan {
	scripts := rapid.Custom(func(t *rapid.T) script {
		s := script{
			Fate:  rapid.SampledFrom([]fate{done, done, done, done, done, done, dead, dead, parks}).Draw(t, "fate"),
			Takes: rapid.SampledFrom([]int{0, 0, 0, 1, 2000}).Draw(t, "takes"),
			Pad:   rapid.SampledFrom([]string{"", fmt.Sprintf("%03000d", 0)}).Draw(t, "pad"),
		}
		if rapid.IntRange(0, 2).Draw(t, "trouble") == 0 {
			s.Fails = rapid.SliceOfN(rapid.SampledFrom(ways), 1, 3).Draw(t, "fails")
		}
		if rapid.IntRange(0, 2).Draw(t, "emit") == 0 {
			s.Emits = rapid.SampledFrom(clients).Draw(t, "emits")
			s.Later = rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(t, "later")
		}
		return s
	})
	sends := rapid.Custom(func(t *rapid.T) send {
		return send{
			client: rapid.SampledFrom(clients).Draw(t, "client"),
			typ:    rapid.SampledFrom([]string{"plain", "slots", "ahead"}).Draw(t, "type"),
			ahead:  rapid.SampledFrom([]time.Duration{0, 0, 0, -time.Second, time.Millisecond, time.Second, 10 * time.Second}).Draw(t, "ahead"),
			script: scripts.Draw(t, "script"),
		}
	})
	kinds := []string{"send", "send", "send", "send", "repeat", "conflict", "sleep", "sleep", "operate", "operate", "operate", "operate", "retain", "retain", "erase"}
	if durable {
		kinds = append(kinds, "restart", "crash now", inEffect, inEffect, beforeAnswer)
	}
	steps := rapid.Custom(func(t *rapid.T) step {
		s := step{do: rapid.SampledFrom(kinds).Draw(t, "do")}
		switch s.do {
		case "send":
			s.sends = rapid.SliceOfN(sends, 1, 8).Draw(t, "sends")
		case "operate":
			s.acts = rapid.SliceOfN(orders, 2, 8).Draw(t, "acts")
		case "repeat", "conflict":
			s.which = rapid.IntRange(0, 1000).Draw(t, "which")
		case "erase":
			s.which = rapid.IntRange(0, len(clients)-1).Draw(t, "client")
			s.crash = durable && rapid.Bool().Draw(t, "crash")
		case "retain":
			s.pause = rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 10 * time.Second}).Draw(t, "age")
		case inEffect, beforeAnswer:
			s.which = rapid.IntRange(0, 5).Draw(t, "after")
		case "restart":
			s.pause = rapid.SampledFrom([]time.Duration{0, 0, time.Second, 10 * time.Second}).Draw(t, "away")
		case "sleep":
			s.pause = rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 10 * time.Second}).Draw(t, "pause")
		}
		return s
	})
	return plan{
		hotBytes:     rapid.SampledFrom([]int{1, 4 << 10, 64 << 10}).Draw(t, "hot bytes"),
		slice:        rapid.IntRange(1, 6).Draw(t, "slice"),
		pollers:      rapid.IntRange(1, 3).Draw(t, "pollers"),
		batch:        rapid.SampledFrom([]int{1, 3, 12, 1000}).Draw(t, "batch"), // the last is never reached
		lateListener: durable && rapid.Bool().Draw(t, "late listener"),
		steps:        rapid.SliceOfN(steps, 6, 20).Draw(t, "steps"),
	}
}
