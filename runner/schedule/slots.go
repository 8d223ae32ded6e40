package schedule

import "github.com/hashicorp/golang-lru/v2/simplelru"

// standing is what is known of a lane that wants a slot of a type. It decides how many
// of the slots the lane may use.
type standing uint8

const (
	proven  standing = iota // the account's last call of this type ended well
	fresh                   // nothing is known
	failing                 // the lane's head failed before
	standings
)

// Shares of a type's slots. Calls that hang hold their slots until their time limit, and
// could hold all slots: so some are kept for other lanes.
const (
	failingShare = 4 // failing lanes get at most 1/4 of the slots, and one at least
	provenShare  = 8 // 1/8 is kept for proven lanes, where there are 8 slots or more
	maxProven    = 4096
)

// slots is the calls of a type that may run at once.
type slots struct {
	bound   int             // 0: any number
	calls   int             // slots that lanes have
	by      [standings]int  // of calls
	waiting [standings]fifo // lanes that wait for a slot
	last    standing        // the standing that got a slot last
	proven  *simplelru.LRU[string, struct{}]
}

// setBound changes the number of slots. Calls that run beyond it go on.
func (s *slots) setBound(bound int) {
	s.bound = bound
	if s.proven == nil && s.kept() > 0 {
		s.proven, _ = simplelru.NewLRU[string, struct{}](maxProven, nil) // it fails for no size only
	}
}

// kept is how many slots only proven lanes get.
func (s *slots) kept() int { return s.bound / provenShare }

// free reports whether a lane of this standing may have a slot now.
func (s *slots) free(as standing) bool {
	switch {
	case s.bound == 0:
		return true
	case s.calls >= s.bound:
		return false
	case as != proven && s.calls-s.by[proven] >= s.bound-s.kept():
		return false
	}
	return as != failing || s.by[failing] < max(1, s.bound/failingShare)
}

// standing returns l's.
func (s *slots) standing(l *lane) standing {
	switch {
	case l.attempts > 0:
		return failing
	case s.kept() > 0 && s.proven.Contains(l.clientID):
		return proven
	}
	return fresh
}

// take gives l a slot, or reports false if none is free for it.
func (s *slots) take(l *lane) bool {
	as := s.standing(l)
	if !s.free(as) {
		return false
	}
	s.count(l, as)
	return true
}

func (s *slots) count(l *lane, as standing) {
	l.slotAs = as
	s.calls++
	s.by[as]++
}

func (s *slots) giveBack(l *lane) {
	s.calls--
	s.by[l.slotAs]--
}

// push lets l wait behind the others of its standing.
func (s *slots) push(l *lane) { s.waiting[s.standing(l)].push(l) }

// pop gives a slot to the first lane that waits and may have one, by turns of each
// standing. It returns nil if there is none.
func (s *slots) pop() *lane {
	for range standings {
		s.last = (s.last + 1) % standings
		if s.waiting[s.last].len() > 0 && s.free(s.last) {
			l := s.waiting[s.last].pop()
			s.count(l, s.last)
			return l
		}
	}
	return nil
}

// proved notes whether an account's call ended well.
func (s *slots) proved(clientID string, well bool) {
	switch {
	case s.proven == nil:
	case well:
		s.proven.Add(clientID, struct{}{})
	default:
		s.proven.Remove(clientID)
	}
}

// unused reports whether no lane has a slot or waits for one.
func (s *slots) unused() bool {
	n := s.calls
	for i := range s.waiting {
		n += s.waiting[i].len()
	}
	return n == 0
}
