package db

import "time"

// NoticeKind says what a Notice tells of its event.
type NoticeKind string

// The kinds of notices.
const (
	NoticeAccepted NoticeKind = "accepted" // the event is new
	NoticeSettled  NoticeKind = "settled"  // a run of it ended, as State says
	NoticeRetrying NoticeKind = "retrying" // an attempt failed or was postponed; the next is at NextAt
	NoticeParked   NoticeKind = "parked"   // its account waits for a person
)

// Notice says what a commit did with one event, without its payload and result. It can be
// copied and kept: its texts are small, and refer to nothing large.
type Notice struct {
	Kind      NoticeKind
	At        time.Time // of the commit's transaction, to the microsecond
	Seq       int64
	ClientID  string
	MessageID string
	Type      string
	Run       int64
	State     State     // NoticeSettled: Done or Dead
	Attempts  int       // that were begun; of NoticeAccepted 0
	NextAt    time.Time // NoticeRetrying
	Error     string    // of an attempt, or why it is dead; at most MaxNoticeError bytes
}

// MaxNoticeError bounds the error in a Notice, in bytes.
const MaxNoticeError = 300
