package api

import (
	"context"
	"log/slog"

	"inturn/db"
)

// operations executes what operators ask for: the verbs on accounts, types and
// events. Each needs the scope operate and is audited.
type operations struct {
	auth
	store interface {
		operator
		Account(ctx context.Context, clientID string) (db.Account, error)
		Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error)
	}
	functions *liveSet
	accounts  accountView
	log       *slog.Logger
}

func newOperations(o Options, set *liveSet) *operations {
	return &operations{auth: auth{o.Tokens}, store: o.Store, functions: set, accounts: newAccountView(o), log: o.Log}
}

func (o *operations) register(r *router) {
	for _, verb := range []db.Verb{db.Pause, db.Resume, db.Retry, db.Skip, db.Replay} {
		r.handle("POST /v1/accounts/{client_id}/"+string(verb), o.actOnAccount(verb))
	}
	for _, verb := range []db.Verb{db.Pause, db.Resume} {
		r.handle("POST /v1/types/{type}/"+string(verb), o.actOnType(verb))
		r.handle("POST /v1/"+string(verb), o.actOnEverything(verb))
	}
	for _, verb := range []db.Verb{db.Retry, db.Skip} {
		r.handle("POST /v1/accounts/"+string(verb), o.actOnParked(verb))
	}
	r.handle("POST /v1/accounts/{client_id}/erase", o.erase)
	r.handle("POST /v1/dead/redrive", o.redrive)
	r.handle("DELETE /v1/events/{client_id}/{message_id}", o.cancelEvent, "reason")
}
