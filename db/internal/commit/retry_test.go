package commit

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"inturn/db"
)

// stopped returns a committer whose goroutine doesn't run.
func stopped(store Store[string]) *Committer[string] {
	c := New[string](slog.New(slog.DiscardHandler))
	c.store, c.guard = store, &sync.Mutex{}
	return c
}

var (
	errOwn    = errors.New("an error of its own")
	errAborts = errors.New("it has ended the transaction")
	errCommit = errors.New("a constraint at COMMIT")
	errDisk   = errors.New("the disk fails")
)

// fake is a store without SQL. The work of an operation says how it goes:
//
//	good        it succeeds
//	bad         it fails by itself
//	aborts      it ends the transaction
//	deferred    it succeeds, and the COMMIT fails
//	slow        it succeeds, and the transaction takes no more
//	N good      it has as many steps as words
type fake struct {
	faults []error  // of the next transactions, before anything is executed; nil: none
	trips  []string // what the transactions were asked to execute
	room   error
	made   int // calls of Full
}

func (s *fake) Committed()  { s.trips = append(s.trips, "committed") }
func (s *fake) Tidy()       {}
func (s *fake) Room() error { return s.room }
func (s *fake) Full(error)  { s.made++ }

func (s *fake) Holder() string { return "somebody" }
func (s *fake) TryLock() bool  { return len(s.faults) == 0 }

func (s *fake) Transaction(ops []*Op[string], savepoints bool) (n int, err error) {
	var works []string
	for _, op := range ops {
		works = append(works, op.Work)
	}
	trip := strings.Join(works, ", ")
	if savepoints {
		trip += " with savepoints"
	}
	s.trips = append(s.trips, trip)
	if len(s.faults) > 0 {
		fault := s.faults[0]
		if s.faults = s.faults[1:]; fault != nil {
			return 0, fault
		}
	}
	atCommit := false
	for i, op := range ops {
		steps := strings.Fields(op.Work)
		err := op.Run(func(i int) (own, group error) {
			switch steps[i] {
			case "bad":
				if !savepoints {
					return nil, &Error{WithSavepoints, errOwn}
				}
				return errOwn, nil
			case "aborts":
				return nil, &Error{TxAborted, errAborts}
			case "deferred":
				atCommit = true
			}
			return nil, nil
		})
		if err != nil {
			return i, err
		}
		if n++; steps[0] == "slow" {
			break
		}
	}
	if atCommit {
		return 0, &Error{Own, errCommit}
	}
	return n, nil
}

// TestRetryTable is the table at Committer.commit: what an error of a step or of the COMMIT
// makes of the group, what each operation is told, and whether the process ends.
func TestRetryTable(t *testing.T) {
	unknown := fmt.Errorf("%w: %w", db.ErrOutcomeUnknown, errDisk)
	tests := []struct {
		name    string
		faults  []error
		ops     string   // works, by comma; those of appends end with a plus sign
		trips   []string // what the store was asked
		errs    []error  // of the operations; errKept: it waits again
		done    []int    // steps of the operations, where they aren't one for success and none for failure
		failure error
	}{
		{name: "all is well", ops: "good, good+", trips: []string{"good, good", "committed"}, errs: []error{nil, nil}},
		{name: "an own error: the group runs again with savepoints", ops: "good, bad, good+",
			trips: []string{"good, bad, good", "good, bad, good with savepoints", "committed"}, errs: []error{nil, errOwn, nil}},
		{name: "an own error in the middle of a slice", ops: "good good bad good",
			trips: []string{"good good bad good", "good good bad good with savepoints", "committed"}, errs: []error{errOwn}, done: []int{2}},
		{name: "the transaction aborted: those before run again without it, those after are the next group", ops: "good, aborts, bad, good+",
			trips: []string{"good, aborts, bad, good", "good, aborts with savepoints", "committed", "bad, good with savepoints", "committed"},
			errs:  []error{nil, errAborts, errOwn, nil}},
		{name: "aborted in the middle of a slice", ops: "good aborts good",
			trips: []string{"good aborts good", "good aborts good with savepoints", "committed"}, errs: []error{errAborts}, done: []int{1}},
		{name: "a constraint at COMMIT: each half runs again alone", ops: "good, deferred, good+, good",
			trips: []string{"good, deferred, good, good", "good, deferred", "good", "committed", "deferred", "deferred", "committed", "good, good", "committed"},
			errs:  []error{nil, errCommit, nil, nil}},
		{name: "a constraint at COMMIT of a slice: its last step is left out until it succeeds", ops: "good deferred good",
			trips: []string{"good deferred good", "good deferred good", "good deferred good", "committed"}, errs: []error{errCommit}, done: []int{1}},
		{name: "cut off: what was not taken waits in front", ops: "slow, good, good+",
			trips: []string{"slow, good, good", "committed"}, errs: []error{nil, errKept, errKept}},
		{name: "another writer: all wait", faults: []error{&Error{Busy, errDisk}}, ops: "good, good+", trips: []string{"good, good"}, errs: []error{errKept, errKept}},
		{name: "disk full: appends are refused, the others kept", faults: []error{&Error{Full, errDisk}}, ops: "good, good+, good",
			trips: []string{"good, good, good"}, errs: []error{errKept, db.ErrStorageFull, errKept}},
		{name: "an I/O error that goes away", faults: []error{&Error{IO, errDisk}}, ops: "good, good+",
			trips: []string{"good, good", "good, good", "committed"}, errs: []error{nil, nil}},
		{name: "an I/O error that stays", faults: []error{&Error{IO, errDisk}, &Error{IO, errDisk}}, ops: "good, good+",
			trips: []string{"good, good", "good, good"}, errs: []error{db.ErrUnavailable, db.ErrUnavailable}, failure: errDisk},
		{name: "an error of no class is the disk's", faults: []error{errDisk, errDisk}, ops: "good",
			trips: []string{"good", "good"}, errs: []error{db.ErrUnavailable}, failure: errDisk},
		{name: "an I/O error at the COMMIT: the outcome is unknown", faults: []error{&Error{IO, unknown}}, ops: "good, good+",
			trips: []string{"good, good"}, errs: []error{db.ErrOutcomeUnknown, db.ErrOutcomeUnknown}, failure: errDisk},
		{name: "damage", faults: []error{&Error{Corrupt, errDisk}}, ops: "good, good+",
			trips: []string{"good, good"}, errs: []error{db.ErrUnavailable, db.ErrUnavailable}, failure: db.ErrCorrupt},
		{name: "fenced", faults: []error{&Error{Fenced, db.ErrFenced}}, ops: "good, good+",
			trips: []string{"good, good"}, errs: []error{db.ErrFenced, db.ErrFenced}, failure: db.ErrFenced},
		{name: "fenced while halves run again", faults: []error{nil, nil, &Error{Fenced, db.ErrFenced}}, ops: "good, deferred, good+",
			trips: []string{"good, deferred, good", "good", "committed", "deferred, good"}, errs: []error{nil, db.ErrFenced, db.ErrFenced}, failure: db.ErrFenced},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store := &fake{faults: test.faults}
			c := stopped(store)
			var ops []*Op[string]
			after := 0
			for work := range strings.SplitSeq(test.ops, ", ") {
				op := &Op[string]{Work: strings.TrimSuffix(work, "+"), RetriedWhenFull: !strings.HasSuffix(work, "+"), After: func() { after++ }}
				op.Steps = len(strings.Fields(op.Work))
				if err := c.Submit(op); err != nil {
					t.Fatal(err)
				}
				ops = append(ops, op)
			}
			c.queue.empty() // they are taken
			later := &Op[string]{RetriedWhenFull: true}
			if err := c.Submit(later); err != nil {
				t.Fatal(err)
			}
			c.commit(ops, false)
			if !slices.Equal(store.trips, test.trips) {
				t.Errorf("the store was asked\n%q, want\n%q", store.trips, test.trips)
			}
			succeeded := 0
			for i, op := range ops {
				if err := outcome(op); !errors.Is(err, test.errs[i]) || (err == nil) != (test.errs[i] == nil) {
					t.Errorf("operation %d, %s: %v, want %v", i, op.Work, err, test.errs[i])
				}
				want := 0
				if test.errs[i] == nil {
					succeeded++
					want = op.Steps
				} else if test.done != nil {
					want = test.done[i]
				}
				if test.errs[i] != errKept && op.Done != want {
					t.Errorf("operation %d, %s: %d steps are done, want %d", i, op.Work, op.Done, want)
				}
			}
			if after != succeeded {
				t.Errorf("After was called %d times, want %d", after, succeeded)
			}
			if err := c.Err(); !errors.Is(err, test.failure) {
				t.Errorf("the process ends with %v, want %v", err, test.failure)
			}
			if failed := outcome(later) != errKept; failed != (test.failure != nil) {
				t.Errorf("what waits has ended: %v", failed)
			}
		})
	}
}

var errKept = errors.New("it waits")

// outcome returns what an operation has been told, or errKept.
func outcome(op *Op[string]) error {
	select {
	case <-op.Ended():
		return op.Err
	default:
		return errKept
	}
}

// While the disk is full appends are refused at once, and what is kept is tried one by one
// until a transaction succeeds.
func TestDiskFull(t *testing.T) {
	store := &fake{faults: []error{&Error{Full, errDisk}}}
	c := stopped(store)
	var kept []*Op[string]
	for range 3 {
		op := &Op[string]{Work: "good", RetriedWhenFull: true}
		if err := c.Submit(op); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, op)
	}
	ops, _, _ := c.take()
	c.commit(ops, false)
	if store.made != 1 {
		t.Errorf("room was made %d times", store.made)
	}
	if err := c.Submit(&Op[string]{}); !errors.Is(err, db.ErrStorageFull) {
		t.Errorf("an append: %v", err)
	}
	if ops, wait, more := c.take(); len(ops) != 0 || wait <= 0 || wait > fullRetryAfter || !more {
		t.Errorf("the next group comes in %v: %d operations, %v", wait, len(ops), more)
	}
	c.fullUntil = time.Now()
	if ops, _, _ = c.take(); len(ops) != 1 {
		t.Fatalf("%d operations are tried at once", len(ops))
	}
	c.commit(ops, false)
	if ops, _, _ = c.take(); len(ops) != 2 {
		t.Errorf("once there is room %d operations are tried at once", len(ops))
	}
	c.closing = true
	store.faults = []error{&Error{Full, errDisk}}
	c.commit(ops, false)
	for i, want := range []error{nil, db.ErrStorageFull, db.ErrStorageFull} {
		if err := outcome(kept[i]); !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", i, err, want)
		}
	}
}

// An operation whose COMMIT fails whatever is left out ends the process, and not never.
func TestNothingIsTriedForEver(t *testing.T) {
	store := &stubborn{}
	c := stopped(store)
	op := &Op[string]{Work: "good", RetriedWhenFull: true}
	if err := c.Submit(op); err != nil {
		t.Fatal(err)
	}
	c.queue.empty()
	c.commit([]*Op[string]{op}, false)
	if !errors.Is(c.Err(), errCommit) || outcome(op) == nil || store.tries > maxExclusions+3 {
		t.Errorf("after %d tries: %v, the process ends with %v", store.tries, outcome(op), c.Err())
	}
}

// stubborn commits nothing.
type stubborn struct {
	fake
	tries int
}

func (s *stubborn) Transaction(ops []*Op[string], _ bool) (int, error) {
	s.tries++
	for _, op := range ops {
		_ = op.Run(func(int) (own, group error) { return nil, nil })
	}
	return 0, &Error{Own, errCommit}
}
