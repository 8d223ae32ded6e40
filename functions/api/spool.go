package api

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the answers to NDJSON that wait for a client which sends before it reads.
const (
	spoolMemory = 16 << 10  // bytes of one request in memory
	spoolFile   = 128 << 20 // bytes of one request in its file
	spoolFiles  = 512 << 20 // bytes of all requests' files
	// spoolStall is how long a full spool waits for its client to read.
	spoolStall = 30 * time.Second
)

// errUnread: the client doesn't read its answers, and there is no room for more.
var errUnread = errors.New("the answers are not read")

// errGone: the client is gone.
var errGone = errors.New("the client is gone")

// spools makes the spools of all requests, which share spoolFiles.
type spools struct {
	folder string // of their files; "" for the system's temporary one
	stall  time.Duration
	bytes  atomic.Int64 // in files
}

// spool is a queue of bytes between what answers lines and what writes to the client. It
// never makes the one wait for the other while there is room: first in memory, then in a
// temporary file that has no name.
type spool struct {
	*spools

	mu       sync.Mutex
	changed  sync.Cond
	memory   []byte // comes before what is in the file
	last     []byte // comes behind it
	file     *os.File
	noFile   bool  // none can be made or written
	from, to int64 // what of the file was not taken yet
	taken    int64 // bytes taken in all
	ended    bool  // nothing more is put
	broken   bool  // nothing more is taken
}

func (all *spools) open() *spool {
	s := &spool{spools: all}
	s.changed.L = &s.mu
	return s
}

// put appends p. It returns errGone once the client is gone, and errUnread where there is
// no room, and the client has taken nothing for stall.
func (s *spool) put(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, since := s.taken, time.Now()
	for !s.broken && !s.store(p) {
		if s.taken != last {
			last, since = s.taken, time.Now()
		}
		wait := s.stall - time.Since(since)
		if wait <= 0 {
			return errUnread
		}
		wake := time.AfterFunc(wait, s.wake)
		s.changed.Wait()
		wake.Stop()
	}
	if s.broken {
		return errGone
	}
	s.changed.Broadcast()
	return nil
}

func (s *spool) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// putLast appends p, which is short, behind all else, whatever room there is. Nothing may be
// put after it.
func (s *spool) putLast(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, p...)
	s.changed.Broadcast()
}

// store appends p where there is room.
func (s *spool) store(p []byte) bool {
	if s.from == s.to && len(s.memory)+len(p) <= spoolMemory {
		s.memory = append(s.memory, p...)
		return true
	}
	if n := int64(len(p)); s.to+n <= spoolFile {
		if s.bytes.Add(n) <= spoolFiles && s.toFile(p) {
			return true
		}
		s.bytes.Add(-n)
	}
	if s.from == s.to && len(s.memory) == 0 { // a long one, and no file: it goes on as it is taken
		s.memory = append(s.memory, p...)
		return true
	}
	return false
}

// toFile appends p to the file.
func (s *spool) toFile(p []byte) bool {
	if s.file == nil && !s.noFile {
		f, err := os.CreateTemp(s.folder, "inturn-answers-*")
		if err != nil {
			s.noFile = true
			return false
		}
		_ = os.Remove(f.Name()) // it ends with the process, however that ends
		s.file = f
	}
	if s.noFile {
		return false
	}
	if _, err := s.file.WriteAt(p, s.to); err != nil { // a full disk: what stands there is still good
		return false
	}
	s.to += int64(len(p))
	return true
}

// take waits for bytes and copies the next ones to p. more reports whether there are
// further ones now. It returns io.EOF once nothing more will come, or why it can't be read.
func (s *spool) take(p []byte) (n int, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.memory) == 0 && s.from == s.to && len(s.last) == 0 && !s.ended && !s.broken {
		s.changed.Wait()
	}
	switch {
	case s.broken:
		return 0, false, errGone
	case len(s.memory) > 0:
		n = copy(p, s.memory)
		s.memory = s.memory[:copy(s.memory, s.memory[n:])]
	case s.from < s.to:
		n, err = s.file.ReadAt(p[:min(int64(len(p)), s.to-s.from)], s.from)
		if err != nil && err != io.EOF {
			return 0, false, err
		}
		if s.from += int64(n); s.from == s.to {
			s.bytes.Add(-s.to)
			s.from, s.to = 0, 0
			_ = s.file.Truncate(0) // only gives the room back
		}
	case len(s.last) > 0:
		n = copy(p, s.last)
		s.last = s.last[n:]
	default:
		return 0, false, io.EOF
	}
	s.taken += int64(n)
	s.changed.Broadcast()
	return n, len(s.memory) > 0 || s.from < s.to, nil
}

// behind reports whether the client has left answers in the file.
func (s *spool) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from < s.to
}

// end says that nothing more will be put. What was put is still taken.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed.Broadcast()
}

// stop ends both sides.
func (s *spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	s.changed.Broadcast()
}

// close gives the room back. Nothing may be called after it.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	s.bytes.Add(-s.to)
	s.from, s.to = 0, 0
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}
