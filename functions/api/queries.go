package api

import (
	"context"
	"time"

	"inturn/db"
)

// queries answers what is asked of events, accounts and the audit. It changes nothing.
type queries struct {
	auth
	store interface {
		eventReader
		accountReader
	}
	functions *liveSet
	accounts  accountView
	missing   func() map[string]int                     // see Options.MissingTypes
	status    func(ctx context.Context) (Status, error) // see Options.Status
	schema    []byte                                    // of the configuration file
	feed      *Feed                                     // nil: nothing can be watched
	stopping  <-chan struct{}                           // closed when shutdown begins; nil: never
}

func newQueries(o Options, set *liveSet) *queries {
	return &queries{auth: auth{o.Tokens}, store: o.Store, functions: set, accounts: newAccountView(o), missing: o.MissingTypes, status: o.Status, schema: o.ConfigSchema, feed: o.Feed, stopping: o.Stopping}
}

func (q *queries) register(r *router) {
	r.handle("GET /v1/events", q.listEvents, "client_id", "type", "state", "request_id", "since", "until", "order", "after", "limit")
	r.handle("GET /v1/events/{client_id}/{message_id}", q.getEvent)
	r.handle("GET /v1/events/{client_id}/{message_id}/runs", q.listRuns, "after", "limit")
	r.handle("GET /v1/dead", q.listDead, "client_id", "type", "since", "after", "limit")
	r.handle("GET /v1/accounts", q.listAccounts, "state", "paused", "sort", "after", "limit")
	r.handle("GET /v1/accounts/{client_id}", q.getAccount)
	r.handle("GET /v1/types", q.listTypes)
	r.handle("GET /v1/status", q.getStatus)
	r.handle("GET /v1/token", q.getToken)
	r.handle("GET /v1/watch", q.watch, "client_id", "type")
	r.handle("GET /v1/audit", q.listAudit, "client_id", "verb", "before", "limit")
	r.handle("GET /v1/openapi.yaml", openAPI)
	r.handle("GET /v1/config.schema.json", q.configSchema)
}

// accountView joins what the file says of an account with what the process does with it.
type accountView struct {
	process func(clientID string) string // nil: the file alone is asked
	now     func() time.Time
}

func newAccountView(o Options) accountView {
	return accountView{process: o.AccountState, now: o.Now}
}

// state returns an account's state. That an account is parked is the file's to say, and
// an account that the process hasn't heard of yet is not idle if something is pending.
func (v accountView) state(account db.Account) string {
	state := ""
	if v.process != nil {
		state = v.process(account.ClientID)
	}
	switch {
	case account.Parked:
		return "parked"
	case state == "ready" && account.Pending == 0 && account.ReplayNext == 0:
		return "idle" // paused, and skipped meanwhile: it waits for nothing
	case state != "" && state != "idle":
		return state
	case account.Pending == 0:
		return "idle"
	case account.NextAt.After(v.now()):
		return "retrying"
	}
	return "ready"
}
