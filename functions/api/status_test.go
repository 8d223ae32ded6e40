package api

import (
	"context"
	"testing"
	"time"

	"inturn/db"
)

func TestStatus(t *testing.T) {
	status, fails := Status{
		At: fakeTime, Ready: true, Pending: 7, Dead: 2, Waiting: 3, Running: 1, Retrying: 1, Parked: 1, Stuck: 1, Paused: 4,
		Rates:                StatusRates{Accepted: 1.5, Done: 2},
		Oldest:               StatusOldest{ReceivedAt: fakeTime.Add(-time.Second), AgeSeconds: 1},
		TypesWithoutFunction: []StatusType{{"greet", 2}}, Endpoints: []StatusEndpoint{{"charge", "down"}},
		Storage: StatusStorage{FileBytes: 10, WALBytes: 20, DiskFree: 30, DiskSize: 40}, Commits: StatusCommits{PerSecond: 2, Operations: 3, Milliseconds: 1.5}, CertificateEndsAt: fakeTime, Warnings: []string{"look"},
	}, error(nil)
	o := Options{Status: func(context.Context) (Status, error) { return status, fails }}
	h := newAPI(t, o)
	wantJSON(t, request(h, "GET", "/v1/status", ""), 200, `{"at":"2026-11-21T12:00:00.123456Z","ready":true,"pending":7,"scheduled":0,"dead":2,`+
		`"waiting":3,"running":1,"retrying":1,"parked":1,"stuck":1,"paused":4,"rates":{"accepted":1.5,"done":2},`+
		`"oldest":{"received_at":"2026-11-21T11:59:59.123456Z","age_seconds":1},"types_without_function":[{"type":"greet","accounts":2}],`+
		`"endpoints":[{"type":"charge","state":"down"}],"storage":{"file_bytes":10,"wal_bytes":20,"disk_free_bytes":30,"disk_size_bytes":40,"full":false},"commits":{"per_second":2,"operations":3,"milliseconds":1.5},"certificate_ends_at":"2026-11-21T12:00:00.123456Z","warnings":["look"]}`)
	for _, c := range []struct {
		err  error
		name string
	}{{db.ErrCorrupt, "unavailable"}, {context.DeadlineExceeded, "overloaded"}} {
		fails = c.err
		wantProblem(t, request(h, "GET", "/v1/status", ""), 503, c.name)
	}
	wantProblem(t, request(newAPI(t, Options{}), "GET", "/v1/status", ""), 404, "not-found")
	wantProblem(t, request(h, "GET", "/v1/status?x=1", ""), 400, "invalid-request")
}
