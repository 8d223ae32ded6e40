package functionstest

import (
	"time"

	"inturn/db"
)

// Act does what an operator can: pause, resume, retry, skip, redrive, replay.
func (e *Engine) Execute(a db.Command) db.CommandResult {
	e.t.Helper()
	acted, err := e.db.Execute(e.t.Context(), a)
	if err != nil {
		e.t.Fatalf("functionstest: %s %s: %v", a.Verb, a.ClientID, err)
	}
	return acted
}

// Parked waits until the account waits for a person, and returns it as it is in the
// file: HeadSeq is what Retry and Skip name, LastError why.
func (e *Engine) Parked(clientID string) db.Account {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		account, err := e.db.Account(e.t.Context(), clientID)
		switch {
		case err != nil:
			e.t.Fatalf("functionstest: account %s: %v", clientID, err)
		case account.Parked:
			return account
		case time.Now().After(end):
			e.t.Fatalf("functionstest: account %s is not parked: %+v", clientID, account)
		}
	}
}
