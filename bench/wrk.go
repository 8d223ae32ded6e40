package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// eventLua is the script with which wrk makes its requests.
//
//go:embed event.lua
var eventLua string

// load is a closed loop of wrk: each connection sends its next request when the last one
// is answered.
type load struct {
	addr        string
	connections int
	time        time.Duration // whole seconds
	ids         string        // rising or random
	kind        string        // work (nothing is settled) or message
	batch       int           // events a request
}

const (
	rising = "rising"
	random = "random"
)

// answers are the results of a load.
type answers struct {
	Requests int64 `json:"requests"` // answered
	Micros   int64 `json:"micros"`
	Refused  int64 `json:"refused"` // of Requests, with a status of 400 or more
	Broken   int64 `json:"broken"`  // connections and time-outs
	P50      int64 `json:"p50"`     // microseconds
	P99      int64 `json:"p99"`

	tries int64 // loads that were fired until one was answered
}

// OK returns the number of answers with a status of 2xx.
func (a answers) OK() int64 { return a.Requests - a.Refused }

// Rate returns how many of these came in a second.
func (a answers) Rate() float64 { return float64(a.OK()) / (float64(a.Micros) / 1e6) }

var errNothing = errors.New("wrk: nothing was answered")

// fire runs wrk, and again for longer if the machine is so slow that there was no answer.
// A load with refusals or broken connections is an error, since it is not the load that
// was meant.
func (b *bench) fire(l load) (a answers, err error) {
	for tries := int64(1); ; tries++ {
		a, err = b.fireOnce(l)
		a.tries = tries
		if !errors.Is(err, errNothing) || l.time > 30*time.Second {
			return a, err
		}
		l.time *= 2
	}
}

func (b *bench) fireOnce(l load) (answers, error) {
	script := filepath.Join(b.dir, "event.lua")
	if err := os.WriteFile(script, []byte(eventLua), 0o600); err != nil {
		return answers{}, err
	}
	text, err := b.output(l.time+time.Minute, "wrk", "-t"+strconv.Itoa(min(2, l.connections)), "-c"+strconv.Itoa(l.connections),
		"-d"+strconv.Itoa(int(l.time.Seconds()))+"s", "--timeout", "30s", "-s", script, "https://"+l.addr+"/v1/events",
		"--", l.ids, l.kind, strconv.Itoa(l.batch))
	if err != nil {
		return answers{}, err
	}
	a, err := readAnswers(text)
	if err == nil && a.Refused+a.Broken > 0 {
		err = fmt.Errorf("wrk: %d answers were not 2xx, %d connections broke", a.Refused, a.Broken)
	}
	return a, err
}

// readAnswers reads the line that event.lua prints at the end.
func readAnswers(text string) (a answers, err error) {
	at := strings.LastIndex(text, "\n{")
	if at < 0 {
		return a, fmt.Errorf("wrk: no result in %q", text)
	}
	if err := json.Unmarshal([]byte(text[at:]), &a); err != nil {
		return a, fmt.Errorf("wrk: %w", err)
	}
	if a.OK() <= 0 || a.Micros <= 0 {
		return a, errNothing
	}
	return a, nil
}

// compare returns an error if the rows of a file are fewer than the answers with 2xx, or
// more than can be explained: requests in flight when wrk ends have rows and no answer.
func compare(rows int64, a answers, l load) error {
	least, most := a.OK()*int64(l.batch), (a.OK()+int64(l.connections)*max(a.tries, 1))*int64(l.batch)
	if rows < least || rows > most {
		return fmt.Errorf("%d rows in the file for %d to %d events that were answered or under way", rows, least, most)
	}
	return nil
}
