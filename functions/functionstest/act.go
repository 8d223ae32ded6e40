package functionstest

import (
	"time"

	"inturn/db"
)

// Execute does what an operator can: pause, resume, retry, skip, redrive, replay.
func (e *Engine) Execute(c db.Command) db.CommandResult {
	e.t.Helper()
	result, err := e.db.Execute(e.t.Context(), c)
	if err != nil {
		e.t.Fatalf("functionstest: %s %s: %v", c.Verb, c.ClientID, err)
	}
	return result
}

// Parked waits until the account waits for a person, and returns it as it is in the
// file: HeadSeq is what Retry and Skip name, LastError why.
func (e *Engine) Parked(clientID string) db.Account {
	e.t.Helper()
	return e.account(clientID, "parked", func(a db.Account) bool { return a.Parked })
}

// Failed waits until an attempt of the account's first pending event has failed, and
// returns the account as it is in the file: Attempts is how many have, LastError why
// the last did.
func (e *Engine) Failed(clientID string) db.Account {
	e.t.Helper()
	return e.account(clientID, "failing", func(a db.Account) bool { return a.Attempts > 0 })
}

// account waits until what is said of an account holds.
func (e *Engine) account(clientID, is string, holds func(db.Account) bool) db.Account {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		account, err := e.db.Account(e.t.Context(), clientID)
		switch {
		case err != nil:
			e.t.Fatalf("functionstest: account %s: %v", clientID, err)
		case holds(account):
			return account
		case time.Now().After(end):
			e.t.Fatalf("functionstest: account %s is not %s: %+v", clientID, is, account)
		}
	}
}
