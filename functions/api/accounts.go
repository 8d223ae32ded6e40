package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"inturn/db"
)

// accountStates is what ?state= may say.
var accountStates = []string{"idle", "ready", "running", "retrying", "parked", "stuck"}

// Bounds of a page of accounts.
const (
	accountStep = 1000  // read at once: each walks what is unflushed
	accountScan = 10000 // looked at for one page, where few have the state that is asked for
)

// getAccount is GET /v1/accounts/{client_id}.
func (q *queries) getAccount(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	x.clientID = r.PathValue("client_id")
	if err := tok.authorizeClient(x.clientID); err != nil {
		return err
	}
	account, err := q.store.Account(r.Context(), x.clientID)
	if err != nil {
		p := readProblem(r.Context(), err)
		if p.kind == notFound {
			p.detail = "this client_id never sent an event"
		}
		return p
	}
	x.answer(http.StatusOK, jsonType, append(appendAccount(nil, account, q.accounts.state(account)), '\n'))
	return nil
}

// listAccounts is GET /v1/accounts: a page of accounts in the order of client_id,
//
//	{"accounts": […], "next": "client_id"}
//
// next, if present, is `after` for the page that follows. With state or paused a page may
// have fewer than limit, or none, and still have a next one. Another order has no next page: it
// has the first accounts, and with state or paused those of the first thousand.
func (q *queries) listAccounts(x *exchange, r *http.Request) error {
	tok, err := q.authorize(x, r, scopeRead)
	if err != nil {
		return err
	}
	if err := tok.authorizeClient(""); err != nil {
		return err
	}
	f, err := newAccountFilter(x.query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	w := newAnswerWriter(x)
	w.text(`{"accounts":[`)
	found, more, sorted := 0, true, f.sort != db.ByClientID
	for scanned := 0; more && found < f.limit && scanned < accountScan && w.err == nil; {
		step := accountStep
		if f.state == "" && f.paused == nil && !sorted {
			step = min(step, f.limit-found)
		}
		// The storage finds the paused and the parked without looking at all others.
		var accounts []db.Account
		err := x.answers.list(ctx, func() (err error) {
			accounts, err = q.store.Accounts(ctx, db.AccountFilter{
				After: f.after, Limit: step, Paused: f.paused != nil && *f.paused, Parked: f.state == "parked", Sort: f.sort,
			})
			if err != nil {
				return err
			}
			return x.hold(sizeOfAccounts(accounts))
		})
		if err != nil {
			if scanned == 0 {
				return readProblem(ctx, err)
			}
			break // the page ends here: the next one says why
		}
		more = len(accounts) == step && !sorted
		for i, account := range accounts {
			scanned++
			f.after = account.ClientID
			state := q.accounts.state(account)
			if f.state != "" && f.state != state || f.paused != nil && *f.paused != account.Paused {
				continue
			}
			if found++; found > 1 {
				w.text(",")
			}
			w.buf = appendAccount(w.buf, account, state)
			w.spill()
			if found == f.limit {
				more = more || i+1 < len(accounts) && !sorted
				break
			}
		}
	}
	w.text("]")
	if more {
		w.text(`,"next":`)
		w.buf = appendText(w.buf, f.after)
	}
	w.text("}\n")
	w.end()
	return nil
}

func sizeOfAccounts(accounts []db.Account) (n int) {
	for i := range accounts {
		n += len(accounts[i].ClientID) + len(accounts[i].LastError)
	}
	return n
}

// accountFilter is the query of a listing.
type accountFilter struct {
	state, after string
	paused       *bool // nil: both
	sort         db.AccountSort
	limit        int
}

func newAccountFilter(query map[string]string) (f accountFilter, err error) {
	f.limit = defaultPage
	for name, value := range query {
		switch name {
		case "state":
			if f.state = value; !slices.Contains(accountStates, value) {
				err = parameter(name, "must be idle, ready, running, retrying, parked or stuck")
			}
		case "paused":
			paused := value == "true"
			if f.paused = &paused; !paused && value != "false" {
				err = parameter(name, "must be true or false")
			}
		case "sort":
			switch f.sort = db.AccountSort(value); value {
			case "client_id":
				f.sort = db.ByClientID
			case string(db.ByPending), string(db.ByOldest):
			default:
				err = parameter(name, "must be client_id, pending (the most pending events first) or oldest (the oldest pending event first)")
			}
		case "after":
			f.after = value
		case "limit":
			f.limit, err = limitParameter(name, value)
		}
		if err != nil {
			return f, err
		}
	}
	if f.sort != db.ByClientID && f.after != "" {
		return f, parameter("after", "is for the order of client_id: a sorted list has the first accounts alone")
	}
	return f, nil
}

// appendAccount leaves out what an account doesn't have.
func appendAccount(b []byte, a db.Account, state string) []byte {
	b = append(b, `{"client_id":`...)
	b = appendText(b, a.ClientID)
	b = append(b, `,"state":`...)
	b = appendText(b, state)
	b = append(b, `,"paused":`...)
	b = strconv.AppendBool(b, a.Paused)
	b = append(b, `,"replaying":`...)
	b = strconv.AppendBool(b, a.ReplayNext != 0)
	b = append(b, `,"pending":`...)
	b = strconv.AppendInt(b, int64(a.Pending), 10)
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(a.Attempts), 10)
	if a.HeadSeq != 0 {
		b = append(b, `,"head_seq":`...)
		b = strconv.AppendInt(b, a.HeadSeq, 10)
	}
	if !a.NextAt.IsZero() {
		b = appendTime(b, "next_at", a.NextAt)
	}
	if a.LastError != "" {
		b = append(b, `,"last_error":`...)
		b = appendText(b, a.LastError)
	}
	return append(b, '}')
}
