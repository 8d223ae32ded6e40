package serve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"inturn/db"
	"inturn/functions/api"
	"inturn/runner"
)

// status reads how the server stands: counters in memory, and a few rows by their index.
func (s *Server) status(ctx context.Context) (api.Status, error) {
	now := time.Now().UTC().Truncate(time.Microsecond) // as all times of the API
	stored, turns, rates := s.store.Stats(), s.runner.Stats(), s.numbers.Rates(now)
	status := api.Status{
		At: now, Pending: stored.Pending, Scheduled: stored.Scheduled, Waiting: max(turns.Accounts[runner.Ready]-turns.Paused, 0),
		Running: turns.Accounts[runner.Running], Retrying: turns.Accounts[runner.Retrying], Parked: turns.Accounts[runner.Parked], Stuck: turns.Accounts[runner.Stuck],
		Rates:                api.StatusRates{Accepted: rates.Accepted, Done: rates.Done},
		Commits:              api.StatusCommits{PerSecond: rates.Commits, Operations: rates.Operations, Milliseconds: rates.CommitMilliseconds},
		TypesWithoutFunction: []api.StatusType{}, Endpoints: []api.StatusEndpoint{},
		Storage: api.StatusStorage{FileBytes: stored.FileBytes, WALBytes: stored.WALBytes, DiskFree: max(stored.DiskFree, 0), DiskSize: max(stored.DiskSize, 0), Full: stored.DiskFull},
	}
	var err error
	if status.Dead, status.Paused, err = s.store.Counts(ctx); err != nil {
		return status, err
	}
	if status.Oldest, err = s.oldest(ctx, now, turns.FreePosition, turns.BlockedPosition); err != nil {
		return status, err
	}
	for _, typ := range slices.Sorted(maps.Keys(turns.Missing)) {
		status.TypesWithoutFunction = append(status.TypesWithoutFunction, api.StatusType{Type: typ, Accounts: turns.Missing[typ]})
	}
	down := s.assembly.Load().webhooks.Down()
	for _, typ := range slices.Sorted(maps.Keys(down)) {
		state := "up"
		if down[typ] {
			state = "down"
		}
		status.Endpoints = append(status.Endpoints, api.StatusEndpoint{Type: typ, State: state})
	}
	pauses, err := s.store.Pauses(ctx)
	if err != nil {
		return status, err
	}
	if s.certs.notAfter != nil {
		status.CertificateEndsAt = s.certs.notAfter().UTC()
	}
	refused := s.store.Ready()
	status.Ready = refused == nil
	status.Warnings = warningsOf(status, pauses, refused, s.warning())
	return status, nil
}

// oldest returns the oldest of the events at these positions, of which 0 is none.
func (s *Server) oldest(ctx context.Context, now time.Time, positions ...int64) (o api.StatusOldest, err error) {
	for _, position := range positions {
		if position == 0 {
			continue
		}
		at, err := s.store.AcceptedAt(ctx, position)
		if errors.Is(err, db.ErrNotFound) { // it was settled since: see runner.Stats
			continue
		}
		if err != nil {
			return o, err
		}
		if o.ReceivedAt.IsZero() || at.Before(o.ReceivedAt) {
			o = api.StatusOldest{ReceivedAt: at, AgeSeconds: max(now.Sub(at), 0).Seconds()}
		}
	}
	return o, nil
}

// warningsOf returns what a person should look at. refused says why no events are taken; nil
// where they are. process is what the process itself warns of, "" for nothing.
func warningsOf(s api.Status, pauses []db.PausedType, refused error, process string) []string {
	all := []string{}
	add := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(refused != nil, "new events are refused: %v", refused)
	add(s.Storage.Full && refused == nil, "new events are refused: the disk is full or nearly full; free space on it")
	add(s.Parked > 0, "%d account(s) parked: each waits for a person; see `inturn accounts list --state parked`", s.Parked)
	add(s.Stuck > 0, "%d account(s) stuck: a function is over its time limit and does not return", s.Stuck)
	for _, p := range pauses {
		add(p.Type == "", "everything is paused since %s", p.Since.Format(time.RFC3339))
		add(p.Type != "", "type %q is paused since %s", p.Type, p.Since.Format(time.RFC3339))
	}
	for _, t := range s.TypesWithoutFunction {
		add(true, "type %q has no function, and %d account(s) wait for one: name its endpoint with --function or in the configuration file", t.Type, t.Accounts)
	}
	for _, e := range s.Endpoints {
		add(e.State == "down", "the endpoint of type %q is down: its accounts wait and are tried one by one", e.Type)
	}
	add(process != "", "%s", process)
	return all
}
