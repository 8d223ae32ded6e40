package api

import (
	"context"

	"inturn/db"
)

// fakeActs is what the fake store says to operators, and what it was asked. The
// verbs themselves are tried with the real storage.
type fakeActs struct {
	acts  []db.Command
	bulks []db.BulkCommand
	audit []db.AuditFilter
	dead  []db.DeadFilter

	acted  db.CommandResult
	bulked func(ctx context.Context, b db.BulkCommand) (db.BulkResult, error)
	rows   []db.AuditEntry
	runs   []db.Result
	pauses []db.PausedType
	paused map[string]bool // accounts
}

func (s *fakeStore) Execute(_ context.Context, a db.Command) (db.CommandResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts = append(s.acts, a)
	answer := s.acted
	if answer.ID == 0 {
		answer = db.CommandResult{ID: int64(len(s.acts)), At: fakeTime, Changed: true, ClientID: a.ClientID, Seq: a.Seq}
	}
	return answer, s.err
}

func (s *fakeStore) Replayable(_ context.Context, clientID string, from, to int64) (n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.ClientID == clientID && e.Seq >= from && (to == 0 || e.Seq <= to) && e.State != db.Pending {
			n++
		}
	}
	return n, s.err
}

func (s *fakeStore) Erase(clientID, who, reason string) (db.EraseReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts = append(s.acts, db.Command{Verb: db.Erasing, ClientID: clientID, Who: who, Reason: reason})
	return db.EraseReport{Client: db.EraseMark(clientID), Events: 3, Pending: 1, Rows: map[string]int64{"messages": 2, "dialogs": 1}}, s.err
}

func (s *fakeStore) ExecuteAll(ctx context.Context, b db.BulkCommand) (db.BulkResult, error) {
	s.mu.Lock()
	s.bulks = append(s.bulks, b)
	answer, err := s.bulked, s.err
	s.mu.Unlock()
	if answer != nil {
		return answer(ctx, b)
	}
	return db.BulkResult{ID: 1, Count: 3}, err
}

func (s *fakeStore) Audit(_ context.Context, f db.AuditFilter) ([]db.AuditEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audit = append(s.audit, f)
	return s.rows[:min(f.Limit, len(s.rows))], s.err
}

func (s *fakeStore) Dead(_ context.Context, f db.DeadFilter) (found []db.StoredEvent, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = append(s.dead, f)
	for _, e := range s.events {
		if e.State == db.Dead && e.Seq > f.After && len(found) < f.Limit && (f.ClientID == "" || f.ClientID == e.ClientID) &&
			(f.Type == "" || f.Type == e.Type) && (f.Since.IsZero() || !e.Result.FinishedAt.Before(f.Since)) {
			found = append(found, *e)
		}
	}
	return found, s.err
}

func (s *fakeStore) Runs(_ context.Context, _, after int64, limit int) (found []db.Result, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.runs {
		if run.Run > after && len(found) < limit {
			found = append(found, run)
		}
	}
	return found, s.err
}

func (s *fakeStore) Pauses(context.Context) ([]db.PausedType, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pauses, s.err
}
