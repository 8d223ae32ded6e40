package api

import (
	"context"
	"time"

	"inturn/db"
)

// fakeActs is what the fake store says to operators, and what it was asked. The
// verbs themselves are tried with the real storage.
type fakeActs struct {
	acts  []db.Act
	bulks []db.Bulk
	audit []db.AuditFilter
	dead  []db.DeadFilter

	acted  db.Acted
	bulked func(ctx context.Context, b db.Bulk) (db.Bulked, error)
	rows   []db.Audited
	runs   []db.Result
	pauses []db.PausedType
	paused map[string]bool // accounts
}

func (s *fakeStore) Act(_ context.Context, a db.Act) (db.Acted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts = append(s.acts, a)
	answer := s.acted
	if answer.ID == 0 {
		answer = db.Acted{ID: int64(len(s.acts)), At: fakeTime, Changed: true, ClientID: a.ClientID, Seq: a.Seq}
	}
	return answer, s.err
}

func (s *fakeStore) Erase(clientID, who, reason string) (db.Erased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts = append(s.acts, db.Act{Verb: db.Erasing, ClientID: clientID, Who: who, Reason: reason})
	return db.Erased{Client: db.EraseMark(clientID), Events: 3, Pending: 1, Rows: map[string]int64{"messages": 2, "dialogs": 1}}, s.err
}

func (s *fakeStore) ActAll(ctx context.Context, b db.Bulk) (db.Bulked, error) {
	s.mu.Lock()
	s.bulks = append(s.bulks, b)
	answer, err := s.bulked, s.err
	s.mu.Unlock()
	if answer != nil {
		return answer(ctx, b)
	}
	return db.Bulked{ID: 1, Count: 3}, err
}

func (s *fakeStore) Audit(_ context.Context, f db.AuditFilter) ([]db.Audited, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audit = append(s.audit, f)
	return s.rows[:min(f.Limit, len(s.rows))], s.err
}

func (s *fakeStore) Dead(_ context.Context, f db.DeadFilter) (found []db.Stored, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = append(s.dead, f)
	for _, e := range s.events {
		if e.State == db.Dead && e.Seq > f.After && len(found) < f.Limit && (f.ClientID == "" || f.ClientID == e.ClientID) &&
			(f.Type == "" || f.Type == e.Type) && (f.Since == time.Time{} || !e.Result.FinishedAt.Before(f.Since)) {
			found = append(found, *e)
		}
	}
	return found, s.err
}

func (s *fakeStore) Runs(context.Context, int64) ([]db.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs, s.err
}

func (s *fakeStore) Pauses(context.Context) ([]db.PausedType, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pauses, s.err
}
