package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Status is how the server stands at a moment: the answer of GET /v1/status.
type Status struct {
	At    time.Time `json:"at"`
	Ready bool      `json:"ready"` // events are taken

	Pending   int `json:"pending"`   // events that are to run
	Scheduled int `json:"scheduled"` // events whose time has not come
	Dead      int `json:"dead"`      // events that were set aside; 100000 stands for more too

	// Accounts by what they do now, as GET /v1/accounts has it.
	Waiting  int `json:"waiting"` // ready, without those that are paused
	Running  int `json:"running"`
	Retrying int `json:"retrying"`
	Parked   int `json:"parked"`
	Stuck    int `json:"stuck"`
	Paused   int `json:"paused"` // by an operator, also without events; 100000 stands for more too

	Rates  StatusRates  `json:"rates"`
	Oldest StatusOldest `json:"oldest"`

	TypesWithoutFunction []StatusType     `json:"types_without_function"`
	Endpoints            []StatusEndpoint `json:"endpoints"`
	Storage              StatusStorage    `json:"storage"`
	Commits              StatusCommits    `json:"commits"`

	CertificateEndsAt time.Time `json:"certificate_ends_at,omitzero"` // zero: there is none

	Warnings []string `json:"warnings"` // what a person should look at, in words
}

// StatusRates are events a second over the last minute, or since the start.
type StatusRates struct {
	Accepted float64 `json:"accepted"`
	Done     float64 `json:"done"`
}

// StatusCommits is how commits went over the last minute, or since the start.
type StatusCommits struct {
	PerSecond    float64 `json:"per_second"`
	Operations   float64 `json:"operations"`   // that were committed together, on average
	Milliseconds float64 `json:"milliseconds"` // that a commit took with its fsync, on average
}

// StatusOldest is the oldest pending event.
type StatusOldest struct {
	ReceivedAt time.Time `json:"received_at,omitzero"` // zero: nothing is pending
	AgeSeconds float64   `json:"age_seconds"`
}

// StatusType is a type that has no function, and how many accounts wait for one.
type StatusType struct {
	Type     string `json:"type"`
	Accounts int    `json:"accounts"`
}

// StatusEndpoint is the endpoint of a type of webhook function.
type StatusEndpoint struct {
	Type  string `json:"type"`
	State string `json:"state"` // up or down
}

// StatusStorage is the room that the database takes, and the room that is left.
type StatusStorage struct {
	FileBytes int64 `json:"file_bytes"`
	WALBytes  int64 `json:"wal_bytes"`
	DiskFree  int64 `json:"disk_free_bytes,omitempty"` // 0: not known
	DiskSize  int64 `json:"disk_size_bytes,omitempty"` // 0: not known
	Full      bool  `json:"full"`                      // events are refused for want of room
}

// getStatus is GET /v1/status. The figures are of all accounts: a token for some client_ids
// is refused.
func (q *queries) getStatus(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	if err := tok.authorizeAll(); err != nil {
		return err
	}
	if q.status == nil {
		return notFound.withDetail("this server keeps no status")
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	status, err := q.status(ctx)
	if err != nil {
		return readProblem(ctx, err)
	}
	body, err := json.Marshal(status)
	if err != nil {
		return err
	}
	x.answer(http.StatusOK, jsonType, append(body, '\n'))
	return nil
}
