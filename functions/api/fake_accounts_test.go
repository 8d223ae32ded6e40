package api

import (
	"context"
	"sort"

	"inturn/db"
)

// pace is what the fake store says of its own.
func (s *fakeStore) DrainRate() (int, float64) { return 300, 10 }

func (s *fakeStore) Account(ctx context.Context, clientID string) (db.Account, error) {
	accounts, err := s.Accounts(ctx, db.AccountFilter{Limit: 1 << 30})
	for _, a := range accounts {
		if a.ClientID == clientID {
			return a, err
		}
	}
	if err == nil {
		err = db.ErrNotFound
	}
	return db.Account{}, err
}

func (s *fakeStore) Accounts(_ context.Context, f db.AccountFilter) ([]db.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	byID := map[string]*db.Account{}
	var ids []string
	for _, e := range s.events {
		a := byID[e.ClientID]
		if a == nil {
			a = &db.Account{ClientID: e.ClientID}
			byID[e.ClientID], ids = a, append(ids, e.ClientID)
		}
		if e.State == db.Pending {
			if a.Pending++; a.HeadSeq == 0 {
				a.HeadSeq = e.Seq
			}
		}
	}
	sort.Strings(ids)
	var accounts []db.Account
	for _, id := range ids {
		byID[id].Paused = s.paused[id]
		if id > f.After && len(accounts) < f.Limit && (!f.Paused || s.paused[id]) && (!f.Parked || byID[id].Parked) {
			accounts = append(accounts, *byID[id])
		}
	}
	return accounts, nil
}
