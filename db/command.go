package db

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Verb is what an operator can do.
type Verb string

// The verbs. An account's head is the event that runs next.
const (
	Pause   Verb = "pause"   // begin no event of an account, also a new one, of a type, or of everything
	Resume  Verb = "resume"  // the end of a Pause of the same
	Retry   Verb = "retry"   // run the head of a parked or retrying account now, its attempts fresh
	Skip    Verb = "skip"    // set the head aside as dead, and go on with the next
	Redrive Verb = "redrive" // run a dead event again, at the end of its account
	Replay  Verb = "replay"  // run finished events of an account again, before what is pending
	Cancel  Verb = "cancel"  // set a pending or scheduled event aside as dead, wherever in its account it stands
)

// Command is what an operator wants done. The comment of a field names the verbs that take
// it; for other verbs it must be empty.
type Command struct {
	Verb     Verb
	ClientID string // the account; Pause, Resume: empty for a type or everything; Redrive: may be empty
	Type     string // Pause, Resume: of one type; with ClientID empty too: of everything
	Seq      int64  // Retry, Skip: the head; Redrive: the dead event; Cancel: the pending or scheduled event; Replay: the first event, 0 for the account's first
	To       int64  // Replay: the last event, 0 for the newest that is finished
	Run      int64  // Redrive: the run that ended dead, 0 for the latest
	Who      string // the operator, for the audit; at most 256 bytes
	Reason   string // for the audit; at most 4096 bytes
	// Key, if set, names this act for ever (an Idempotency-Key, at most 256 bytes):
	// the same act with the same key is done once, and gets the first one's answer.
	Key string
}

// CommandResult is the answer to a Command, committed and fsynced together with what it did.
type CommandResult struct {
	ID      int64 // of the row in audit
	At      time.Time
	Changed bool // false: it was so already, and nothing was done
	Again   bool // this is the answer that Key got before

	ClientID string // the account; empty for a type or everything
	Seq      int64  // Retry, Skip, Redrive, Cancel: the event; Replay: the first event that runs again
	Run      int64  // Redrive: the run that is pending now; Cancel: the run that was cancelled
	To       int64  // Replay: the last event that runs again
	Events   int64  // Replay: how many run again, without those that are not kept any more
	HeadSeq  int64  // of an account: what runs next, 0 if nothing is pending; of a Replay, before it began
}

// Errors of Execute, beside the storage's. Nothing was done, and nothing is in the audit.
var (
	// ErrBadCommand: the act makes no sense as it stands; the text says what to change.
	ErrBadCommand = errors.New("this can't be done")
	// ErrKeyReused: the key was used for another act.
	ErrKeyReused = errors.New("this idempotency key was used for something else")
	// ErrNotDead: the event is done.
	ErrNotDead = errors.New("the event is not dead")
	// ErrStillPending: the event has yet to run.
	ErrStillPending = errors.New("the event is still pending")
	// ErrGone: there was such an event, and it is not kept any more.
	ErrGone = errors.New("the event is not kept any more")
	// ErrNothingToReplay: no finished event of the range is kept.
	ErrNothingToReplay = errors.New("there is nothing to replay")
	// ErrReplaying: another replay of the account has not ended.
	ErrReplaying = errors.New("the account is being replayed already")
	// ErrTooLate: a function is working on the event, or it is finished.
	ErrTooLate = errors.New("the event runs or is finished")
)

// HeadMovedError says that the account's head is another one than was named.
type HeadMovedError struct {
	Seq int64 // the head now, 0 if nothing is pending
}

func (e *HeadMovedError) Error() string {
	if e.Seq == 0 {
		return "nothing of this account is pending"
	}
	return fmt.Sprintf("the head of this account is seq %d", e.Seq)
}

// Bounds of what an operator writes, in bytes.
const (
	maxOperator = 256  // the operator's name, and Key
	maxWhy      = 4096 // Reason
)

func badCommand(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadCommand, fmt.Sprintf(format, args...))
}

// Check returns an error that wraps ErrBadCommand if a verb lacks a field that it needs,
// or has one that it doesn't take. The text says what to change.
func (a *Command) Check() error {
	wants := func(name string, want, is bool) error {
		if want && !is {
			return badCommand("%s needs a %s", a.Verb, name)
		}
		return nil
	}
	refuses := func(name string, is bool) error {
		if is {
			return badCommand("%s takes no %s", a.Verb, name)
		}
		return nil
	}
	errs := []error{checkOperator(a.Who, a.Reason, a.Key)}
	switch a.Verb {
	case Pause, Resume:
		if a.ClientID != "" {
			errs = append(errs, refuses("type beside an account", a.Type != ""))
		}
		errs = append(errs, refuses("seq", a.Seq != 0), refuses("to", a.To != 0), refuses("run", a.Run != 0))
	case Retry, Skip:
		errs = append(errs, wants("client_id", true, a.ClientID != ""), wants("seq, the account's head", true, a.Seq > 0),
			refuses("type", a.Type != ""), refuses("to", a.To != 0), refuses("run", a.Run != 0))
	case Cancel:
		errs = append(errs, wants("client_id", true, a.ClientID != ""), wants("seq, the pending or scheduled event", true, a.Seq > 0),
			refuses("type", a.Type != ""), refuses("to", a.To != 0), refuses("run", a.Run != 0))
	case Redrive:
		errs = append(errs, wants("seq, the dead event", true, a.Seq > 0), refuses("type", a.Type != ""), refuses("to", a.To != 0))
		if a.Run < 0 {
			errs = append(errs, badCommand("a run is 1 or more"))
		}
	case Replay:
		errs = append(errs, wants("client_id", true, a.ClientID != ""), refuses("type", a.Type != ""), refuses("run", a.Run != 0))
		if a.Seq < 0 || a.To < 0 || a.To > 0 && a.To < a.Seq {
			errs = append(errs, badCommand("a replay goes from a seq to the same or a greater one"))
		}
	default:
		return badCommand("there is no verb %.20q", a.Verb)
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkOperator(who, reason, key string) error {
	switch {
	case len(who) > maxOperator || len(key) > maxOperator:
		return badCommand("the operator's name and the key are at most %d bytes", maxOperator)
	case len(reason) > maxWhy:
		return badCommand("the reason is at most %d bytes", maxWhy)
	case !utf8.ValidString(who + reason + key):
		return badCommand("the operator's name, the reason and the key must be UTF-8")
	}
	return nil
}

// BulkCommand is a Command on many: Retry and Skip on every parked account, Redrive on every
// dead event.
type BulkCommand struct {
	Verb     Verb
	Type     string    // only heads, or dead events, of this type
	ClientID string    // only of this account
	Since    time.Time // Redrive: only what ended dead at this time or later
	DryRun   bool      // count, and do nothing
	Who      string
	Reason   string
	// Key names the whole of it. After a crash the same BulkCommand with the same key goes on
	// where it was, and does nothing twice. Without a key a second BulkCommand is a new one:
	// it does what is parked, or dead, by then.
	Key string
}

// BulkResult is the answer to a BulkCommand.
type BulkResult struct {
	ID    int64 // of the first row in audit; 0 for a dry run
	Count int64 // accounts or events it was done to; in a dry run, would be done to
	Again bool  // Key was used for this before, and it had ended
}

// Check returns an error that wraps ErrBadCommand if b makes no sense as it stands.
func (b *BulkCommand) Check() error {
	switch b.Verb {
	case Retry, Skip:
		if !b.Since.IsZero() {
			return badCommand("%s of all parked accounts takes no since", b.Verb)
		}
	case Redrive:
	default:
		return badCommand("there is no bulk form of %.20q: only of retry, skip and redrive", b.Verb)
	}
	return checkOperator(b.Who, b.Reason, b.Key)
}
