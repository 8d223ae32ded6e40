package functions_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"inturn/functions"
)

func TestPolicyHasDefaults(t *testing.T) {
	def := functions.Policy{Attempts: 20, InitialBackoff: time.Second, Multiplier: 2, MaxBackoff: 5 * time.Minute, Jitter: 0.5, Timeout: 5 * time.Minute}
	with := func(change func(*functions.Policy)) functions.Policy {
		p := def
		change(&p)
		return p
	}
	for _, c := range []struct{ given, want functions.Policy }{
		{functions.Policy{}, def},
		{functions.Policy{Attempts: 3}, with(func(p *functions.Policy) { p.Attempts = 3 })},
		{functions.Policy{InitialBackoff: time.Minute, Timeout: time.Hour}, with(func(p *functions.Policy) { p.InitialBackoff, p.Timeout = time.Minute, time.Hour })},
		{functions.Policy{Multiplier: 1.5, Jitter: 1}, with(func(p *functions.Policy) { p.Multiplier, p.Jitter = 1.5, 1 })},
		{functions.Policy{Jitter: -1, Exhausted: functions.ThenDead}, with(func(p *functions.Policy) { p.Jitter, p.Exhausted = 0, functions.ThenDead })},
		// Of the two waits, the one that is given moves the other's default.
		{functions.Policy{MaxBackoff: time.Millisecond}, with(func(p *functions.Policy) { p.InitialBackoff, p.MaxBackoff = time.Millisecond, time.Millisecond })},
		{functions.Policy{InitialBackoff: time.Hour}, with(func(p *functions.Policy) { p.InitialBackoff, p.MaxBackoff = time.Hour, time.Hour })},
	} {
		if got := functions.New("x", nothing[struct{}], functions.WithPolicy(c.given)).Policy(); got != c.want {
			t.Errorf("WithPolicy(%+v) gives %+v, want %+v", c.given, got, c.want)
		}
	}
	if got := functions.New("x", nothing[struct{}]).Policy(); got != def {
		t.Errorf("the default is %+v", got)
	}
}

// Each bound is taken, and what is beyond it is refused with an error that names the
// field, by Validate and by New.
func TestPolicyIsValidated(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for _, p := range []functions.Policy{
		{Attempts: 1}, {Attempts: 1_000_000}, {InitialBackoff: time.Millisecond}, {InitialBackoff: week}, {MaxBackoff: time.Millisecond}, {MaxBackoff: week},
		{InitialBackoff: time.Second, MaxBackoff: time.Second}, {Multiplier: 1}, {Multiplier: 1000}, {Jitter: 1}, {Jitter: math.Inf(-1)},
		{Timeout: time.Millisecond}, {Timeout: 24 * time.Hour}, {Exhausted: functions.ThenDead},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, c := range []struct {
		policy functions.Policy
		field  string
	}{
		{functions.Policy{Attempts: -1}, "Attempts is -1"},
		{functions.Policy{Attempts: 1_000_001}, "Attempts is 1000001"},
		{functions.Policy{InitialBackoff: -1}, "InitialBackoff is -1ns"},
		{functions.Policy{InitialBackoff: time.Microsecond}, "InitialBackoff is 1µs"},
		{functions.Policy{InitialBackoff: week + 1}, "InitialBackoff is 168h0m0.000000001s"},
		{functions.Policy{MaxBackoff: -1}, "MaxBackoff is -1ns"},
		{functions.Policy{MaxBackoff: week + 1}, "MaxBackoff is 168h0m0.000000001s"},
		{functions.Policy{InitialBackoff: 2 * time.Second, MaxBackoff: time.Second}, "MaxBackoff is 1s"},
		{functions.Policy{Multiplier: 0.5}, "Multiplier is 0.5"},
		{functions.Policy{Multiplier: -2}, "Multiplier is -2"},
		{functions.Policy{Multiplier: math.NaN()}, "Multiplier is NaN"},
		{functions.Policy{Multiplier: math.Inf(1)}, "Multiplier is +Inf"},
		{functions.Policy{Jitter: 1.1}, "Jitter is 1.1"},
		{functions.Policy{Jitter: math.NaN()}, "Jitter is NaN"},
		{functions.Policy{Timeout: -time.Second}, "Timeout is -1s"},
		{functions.Policy{Timeout: 1}, "Timeout is 1ns"},
		{functions.Policy{Timeout: 25 * time.Hour}, "Timeout is 25h0m0s"},
		{functions.Policy{Exhausted: 7}, "Exhausted is 7"},
	} {
		err := c.policy.Validate()
		if err == nil || !strings.Contains(err.Error(), "policy: "+c.field+": must ") {
			t.Errorf("%+v: %v", c.policy, err)
		}
		if said := panics(func() { functions.New("x", nothing[struct{}], functions.WithPolicy(c.policy)) }); !strings.Contains(said, c.field) {
			t.Errorf("New with %+v panics with %q", c.policy, said)
		}
	}
	if said := panics(func() { functions.New("x", nothing[struct{}], functions.MaxConcurrent(-1)) }); !strings.Contains(said, "MaxConcurrent is -1") {
		t.Errorf("MaxConcurrent(-1) panics with %q", said)
	}
}

// panics returns what f panics with, "" if it returns.
func panics(f func()) (said string) {
	defer func() {
		if v := recover(); v != nil {
			said = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}
