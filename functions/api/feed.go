package api

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"inturn/db"
)

// Bounds of a Feed.
const (
	defaultFeedSize = 1 << 15 // notices that are kept: some 10 MB at most, and less than that with short ids
	maxFeedReaders  = 64
	feedLinger      = 5 * time.Minute // from the last reader's end, so that one that comes back misses nothing
)

// Feed hands what commits do with events to readers of GET /v1/watch. It keeps the newest
// notices once, for all readers, so neither the number of readers nor a slow one costs the
// committer anything; a reader that has fallen too far behind has missed the difference.
type Feed struct {
	watch func(func([]db.Notice)) // turns the source on, or with nil off
	size  int64
	after func(time.Duration, func()) (stop func() bool)

	mu      sync.Mutex
	session string // names a time in which the source was on without a break; "" while it is off
	ring    []db.Notice
	next    int64         // number of the next notice in this session
	changed chan struct{} // closed by the next notice; nil: nobody waits
	readers int
	stopOff func() bool // stops the timer that turns the source off
}

// NewFeed returns the Feed of a storage, of which watch is the method Watch. size is how many
// notices are kept; 0: 32768.
func NewFeed(watch func(func([]db.Notice)), size int) *Feed {
	if size <= 0 {
		size = defaultFeedSize
	}
	return &Feed{watch: watch, size: int64(size), after: func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }}
}

// publish takes what a commit did. The committer calls it.
func (f *Feed) publish(list []db.Notice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range list {
		if int64(len(f.ring)) < f.size {
			f.ring = append(f.ring, n)
		} else {
			f.ring[f.index(f.next)] = n
		}
		f.next++
	}
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// feedReader is one reader's place in a Feed. One goroutine uses it.
type feedReader struct {
	feed    *Feed
	session string
	next    int64
}

// join adds a reader that begins behind cursor, or with what is committed from now on where
// cursor is "". known is false where the cursor is of another session: what was missed since
// then can't be counted.
func (f *Feed) join(cursor string) (r *feedReader, known bool, err error) {
	session, number, err := parseCursor(cursor)
	if err != nil {
		return nil, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == maxFeedReaders {
		return nil, false, overloaded.withDetail("%d readers watch already: ask again later", maxFeedReaders)
	}
	f.readers++
	if f.stopOff != nil {
		f.stopOff()
		f.stopOff = nil
	}
	if f.session == "" {
		f.session, f.ring, f.next = rand.Text()[:8], nil, 1
		f.watch(f.publish)
	}
	r = &feedReader{feed: f, session: f.session, next: f.next}
	if cursor != "" && session == f.session && number < f.next {
		r.next = number + 1
	}
	return r, cursor == "" || session == f.session && number < f.next, nil
}

// leave ends the reader.
func (r *feedReader) leave() {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.stopOff = f.after(feedLinger, f.off)
	}
}

// off turns the source off, if still nobody reads.
func (f *Feed) off() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == 0 && f.session != "" {
		f.watch(nil)
		f.session, f.ring, f.stopOff = "", nil, nil
	}
}

// read copies the next notices into list and returns it, the number of the first notice, and
// how many before the first are not kept any more. Without any it returns a channel that is closed
// when there are further notices.
func (r *feedReader) read(list []db.Notice) (got []db.Notice, first, missed int64, wait <-chan struct{}) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if oldest := f.next - int64(len(f.ring)); r.next < oldest {
		missed, r.next = oldest-r.next, oldest
	}
	if first = r.next; first == f.next {
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		return nil, first, missed, f.changed
	}
	got = list[:0]
	for ; r.next < f.next && len(got) < cap(list); r.next++ {
		got = append(got, f.ring[f.index(r.next)])
	}
	return got, first, missed, nil
}

// index returns where the notice with this number stands in ring.
func (f *Feed) index(number int64) int64 { return (number - 1) % f.size }

// cursor returns the name of the place behind the notice with this number.
func (r *feedReader) cursor(number int64) string {
	return r.session + "-" + strconv.FormatInt(number, 10)
}

// maxCursor bounds a cursor, in bytes.
const maxCursor = 64

// parseCursor is cursor's inverse; "" is none.
func parseCursor(cursor string) (session string, number int64, err error) {
	if cursor == "" {
		return "", 0, nil
	}
	session, digits, ok := strings.Cut(cursor, "-")
	number, perr := strconv.ParseInt(digits, 10, 64)
	if !ok || perr != nil || number < 0 || len(cursor) > maxCursor {
		return "", 0, invalidRequest.withDetail("Last-Event-ID is no cursor: send the id of the last event that came, or leave it out")
	}
	return session, number, nil
}
