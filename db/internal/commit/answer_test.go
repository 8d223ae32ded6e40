package commit

import (
	"strings"
	"testing"
)

// unanswered is a store whose transactions report each operation that has its answer while
// they can still be rolled back.
type unanswered struct {
	*fake
	t *testing.T
}

func (s unanswered) Transaction(ops []*Op[string], savepoints bool) (int, error) {
	n, err := s.fake.Transaction(ops, savepoints)
	for i, op := range ops { // the moment of the COMMIT
		if outcome(op) != errKept {
			s.t.Errorf("operation %d, %s, is answered before the commit", i, op.Work)
		}
	}
	return n, err
}

// TestAnswersFollowTheCommit: neither an append nor a settle is answered while the
// transaction that writes it can be rolled back, however often its group is run, and each is
// answered once it is committed.
func TestAnswersFollowTheCommit(t *testing.T) {
	for name, works := range map[string]string{
		"at once":                          "good, good+, good good",
		"again with savepoints":            "good+, bad, good+",
		"again without what has failed":    "good+, aborts, good+",
		"again by halves after the COMMIT": "good+, deferred, good, good+",
	} {
		t.Run(name, func(t *testing.T) {
			c := stopped(unanswered{&fake{}, t})
			var ops []*Op[string]
			for work := range strings.SplitSeq(works, ", ") {
				work, isAppend := strings.CutSuffix(work, "+")
				op := &Op[string]{Work: work, Steps: len(strings.Fields(work)), RetriedWhenFull: !isAppend}
				if err := c.Submit(op); err != nil {
					t.Fatal(err)
				}
				ops = append(ops, op)
			}
			c.queue.empty() // they are taken
			c.commit(ops, false)
			for i, op := range ops {
				if outcome(op) == errKept {
					t.Errorf("operation %d, %s, has no answer", i, op.Work)
				}
			}
		})
	}
}
