package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// event is an event as the API shows it.
type event struct {
	ClientID   string          `json:"client_id"`
	MessageID  string          `json:"message_id"`
	Seq        int64           `json:"seq"`
	State      string          `json:"state"`
	Type       string          `json:"type"`
	Payload    json.RawMessage `json:"payload"`
	Attrs      json.RawMessage `json:"attrs"`
	RequestID  string          `json:"request_id"`
	ReceivedAt time.Time       `json:"received_at"`
	DeliverAt  time.Time       `json:"deliver_at"`
	Run        int64           `json:"run"`
	Attempts   int             `json:"attempts"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Result     json.RawMessage `json:"result"`
	Error      string          `json:"error"`
	Errors     []struct {
		Attempt int       `json:"attempt"`
		At      time.Time `json:"at"`
		Error   string    `json:"error"`
	} `json:"errors"`
	Emitted []struct {
		ClientID  string `json:"client_id"`
		MessageID string `json:"message_id"`
		Seq       int64  `json:"seq"`
	} `json:"emitted"`
}

// eventPage is a page of GET /v1/events.
type eventPage struct {
	Events []event `json:"events"`
	Next   int64   `json:"next"`
}

// eventQuery are the filters of the view, named as the API's parameters.
var eventQuery = []string{"client_id", "type", "state", "request_id", "since", "until", "order", "after"}

// events is GET /events: the newest first, unless order=asc asks for the oldest first.
func (p *Page) events(v *visit) error {
	q := v.r.URL.Query()
	if q.Get("order") == "" {
		q.Set("order", "desc")
	}
	query := url.Values{"limit": {strconv.Itoa(listed)}}
	filter := map[string]string{}
	for _, name := range eventQuery {
		filter[name] = q.Get(name)
		query.Set(name, q.Get(name))
	}
	if filter["client_id"] == "" && len(v.info.ClientIDs) > 0 {
		filter["client_id"] = v.info.ClientIDs[0]
		query.Set("client_id", filter["client_id"])
	}
	d := struct {
		Filter map[string]string
		Only   []string
		More   string
		eventPage
	}{Filter: filter, Only: v.info.ClientIDs}
	if err := v.get("/v1/events", query, &d.eventPage); err != nil {
		return err
	}
	if d.Next > 0 {
		d.More = "/events?" + with(filter, "after", strconv.FormatInt(d.Next, 10))
	}
	return v.show(http.StatusOK, "events", "Events", d)
}

// with returns a query of the parameters that are not empty, with one replaced.
func with(filter map[string]string, name, value string) string {
	query := url.Values{}
	for n, value := range filter {
		if value != "" {
			query.Set(n, value)
		}
	}
	query.Set(name, value)
	return query.Encode()
}

// event is GET /event.
func (p *Page) event(v *visit) error {
	q := v.r.URL.Query()
	path := eventPath(q.Get("client_id"), q.Get("message_id"))
	d := struct {
		Event event
		Runs  []event `json:"runs"` // earlier ones
		More  int64   `json:"next"`
		Token tokenInfo
		Raw   bool
		Trace string
		Key   string
	}{Token: v.info, Raw: q.Get("raw") != "", Key: newKey()}
	if err := v.get(path, nil, &d.Event); err != nil {
		return err
	}
	if err := v.get(path+"/runs", url.Values{"limit": {"20"}}, &d); err != nil {
		if _, refused := errors.AsType[*problem](err); !refused {
			return err
		}
	}
	var attrs struct {
		Traceparent string `json:"traceparent"`
	}
	if json.Unmarshal(d.Event.Attrs, &attrs) == nil {
		d.Trace = attrs.Traceparent
	}
	return v.show(http.StatusOK, "event", "Event "+visible(d.Event.MessageID)+" of "+visible(d.Event.ClientID), d)
}

// dead is GET /dead.
func (p *Page) dead(v *visit) error {
	q := v.r.URL.Query()
	d := struct {
		Filter map[string]string
		Token  tokenInfo
		Dead   []event `json:"dead"`
		Next   int64   `json:"next"`
		Kinds  []deadKind
		More   string
		Key    string
	}{Filter: map[string]string{}, Token: v.info, Key: newKey()}
	query := url.Values{"limit": {strconv.Itoa(2 * listed)}}
	for _, name := range []string{"client_id", "type", "since", "after"} {
		d.Filter[name] = q.Get(name)
		query.Set(name, q.Get(name))
	}
	if d.Filter["client_id"] == "" && len(v.info.ClientIDs) > 0 {
		d.Filter["client_id"] = v.info.ClientIDs[0]
		query.Set("client_id", d.Filter["client_id"])
	}
	if err := v.get("/v1/dead", query, &d); err != nil {
		return err
	}
	d.Kinds = kindsOf(d.Dead)
	if d.Next > 0 {
		d.More = "/dead?" + with(d.Filter, "after", strconv.FormatInt(d.Next, 10))
	}
	return v.show(http.StatusOK, "dead", "Dead", d)
}

// deadKind is the dead events of a page that have one type and one error.
type deadKind struct {
	Type, Error string
	Count       int
}

// kindsOf counts events by type and error, in the order in which they come.
func kindsOf(events []event) (kinds []deadKind) {
	at := map[deadKind]int{}
	for _, e := range events {
		kind := deadKind{Type: e.Type, Error: e.Error}
		i, known := at[kind]
		if !known {
			i = len(kinds)
			at[kind] = i
			kinds = append(kinds, kind)
		}
		kinds[i].Count++
	}
	return kinds
}

// audited is an entry of GET /v1/audit.
type audited struct {
	ID       int64           `json:"id"`
	At       time.Time       `json:"at"`
	Who      string          `json:"who"`
	Verb     string          `json:"verb"`
	ClientID string          `json:"client_id"`
	Type     string          `json:"type"`
	Reason   string          `json:"reason"`
	Seq      int64           `json:"seq"`
	To       int64           `json:"to"`
	Answer   json.RawMessage `json:"answer"`
}

// audit is GET /audit.
func (p *Page) audit(v *visit) error {
	q := v.r.URL.Query()
	d := struct {
		ClientID, Verb string
		Verbs          []string
		Audit          []audited `json:"audit"`
		Next           int64     `json:"next"`
		More           string
	}{ClientID: q.Get("client_id"), Verb: q.Get("verb"), Verbs: []string{"pause", "resume", "retry", "skip", "redrive", "replay", "cancel", "erase"}}
	if d.ClientID == "" && len(v.info.ClientIDs) > 0 {
		d.ClientID = v.info.ClientIDs[0]
	}
	err := v.get("/v1/audit", url.Values{"client_id": {d.ClientID}, "verb": {d.Verb}, "before": {q.Get("before")}, "limit": {strconv.Itoa(listed)}}, &d)
	if err != nil {
		return err
	}
	if d.Next > 0 {
		d.More = link("/audit", "client_id", d.ClientID, "verb", d.Verb, "before", strconv.FormatInt(d.Next, 10))
	}
	return v.show(http.StatusOK, "audit", "Audit", d)
}
