package page

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// account is an account as the API shows it.
type account struct {
	ClientID  string    `json:"client_id"`
	State     string    `json:"state"`
	Paused    bool      `json:"paused"`
	Replaying bool      `json:"replaying"`
	Pending   int64     `json:"pending"`
	Attempts  int       `json:"attempts"`
	HeadSeq   int64     `json:"head_seq"`
	NextAt    time.Time `json:"next_at"`
	LastError string    `json:"last_error"`
}

// listed is how many rows a page has.
const listed = 50

// accounts is GET /accounts.
func (p *Page) accounts(v *visit) error {
	q := v.r.URL.Query()
	d := struct {
		State, Paused, Sort, After string
		States                     []string
		Accounts                   []account `json:"accounts"`
		Next                       string    `json:"next"`
		Only                       []string  // the accounts that the token is for
	}{State: q.Get("state"), Paused: q.Get("paused"), Sort: q.Get("sort"), After: q.Get("after"), States: []string{"idle", "ready", "running", "retrying", "parked", "stuck"}, Only: v.info.ClientIDs}
	if id := q.Get("client_id"); id != "" {
		http.Redirect(v.w, v.r, link("/account", "client_id", id), http.StatusSeeOther)
		return nil
	}
	if len(d.Only) == 0 {
		err := v.get("/v1/accounts", url.Values{"state": {d.State}, "paused": {d.Paused}, "sort": {d.Sort}, "after": {d.After}, "limit": {strconv.Itoa(listed)}}, &d)
		if err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "accounts", "Accounts", d)
}

// laneData is one account: what ran, what runs or is held, and what waits.
type laneData struct {
	Account  account
	Finished []event // the newest first
	Waiting  []event // the head first
	Token    tokenInfo
	Live     string
	Key      string // of the verbs on the page
	Now      time.Time
}

// laneLength is how many events of an account are shown on each side of its head.
const laneLength = 15

func (v *visit) lane(clientID string) (d laneData, err error) {
	d = laneData{Token: v.info, Live: link("/live", "view", "account", "client_id", clientID), Now: v.page.o.Now()}
	if err := v.get(accountPath(clientID), nil, &d.Account); err != nil {
		return d, err
	}
	limit, head := strconv.Itoa(laneLength), d.Account.HeadSeq
	if head > 0 { // from the head on, so that what is finished need not be walked
		waiting := eventPage{}
		err := v.get("/v1/events", url.Values{"client_id": {clientID}, "state": {"pending"}, "after": {strconv.FormatInt(head-1, 10)}, "limit": {limit}}, &waiting)
		if err != nil {
			return d, err
		}
		d.Waiting = waiting.Events
	}
	finished := eventPage{}
	query := url.Values{"client_id": {clientID}, "order": {"desc"}, "limit": {limit}}
	if head > 0 {
		query.Set("after", strconv.FormatInt(head, 10))
	}
	if err := v.get("/v1/events", query, &finished); err != nil {
		return d, err
	}
	d.Finished = finished.Events
	return d, nil
}

// account is GET /account.
func (p *Page) account(v *visit) error {
	d, err := v.lane(v.r.URL.Query().Get("client_id"))
	if err != nil {
		return err
	}
	d.Key = newKey()
	return v.show(http.StatusOK, "account", "Account "+visible(d.Account.ClientID), d)
}
