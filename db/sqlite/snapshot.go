package sqlite

import (
	"slices"
	"sync"
)

// snapshot is what readers may know of the memtable: its events as of the last commit.
type snapshot struct {
	mu      sync.Mutex
	next    int64              // the next event's seq
	flushed int64              // everything up to this seq is flushed
	events  []unflushed        // those beyond it; their stages are the committer's
	waiting map[string][]int64 // by account, the unflushed events whose first run is pending
}

// drop takes an event out of those that wait; mostly it is its account's first. s.mu is
// held.
func (s *snapshot) drop(a appended) {
	clientID, seq := a.clientID, a.seq
	list := s.waiting[clientID]
	switch {
	case len(list) == 0:
	case len(list) == 1 && list[0] == seq:
		delete(s.waiting, clientID)
	case list[0] == seq:
		s.waiting[clientID] = list[1:]
	default:
		if i, found := slices.BinarySearch(list, seq); found { // a copy, as readers have the list
			s.waiting[clientID] = slices.Concat(list[:i], list[i+1:])
		}
	}
}

// waitingOf returns the account's unflushed events whose first run is pending, in order.
// The caller must not change the list.
func (s *snapshot) waitingOf(clientID string) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[clientID]
}

// waitingAfter returns the account's unflushed pending events after a position, up to
// limit. Together with lanes, as it is afterwards, they are the pending ones of the
// positions below end. more says that there are further ones.
func (s *snapshot) waitingAfter(clientID string, after int64, limit int) (seqs []int64, end int64, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.waiting[clientID]
	i, _ := slices.BinarySearch(list, after+1)
	if list = list[i:]; len(list) > limit {
		return list[:limit], list[limit], true
	}
	return list, s.next, false
}

// nextSeq returns the seq that the next event gets.
func (s *snapshot) nextSeq() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// flushedUpTo is the seq up to which everything is flushed.
func (s *snapshot) flushedUpTo() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushed
}

// count is how many events are not flushed.
func (s *snapshot) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

// oldest returns the first n events that are not flushed.
func (s *snapshot) oldest(n int) []appended {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]appended, n)
	for i := range list {
		list[i] = s.events[i].appended
	}
	return list
}
