package page

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// newKey names an act before it is done: what a form sends twice is done once.
func newKey() string { return rand.Text() }

// eraseTime is how long the answer to an erasure may take, as in the API.
const eraseTime = 10 * time.Minute

// form is what a form of the page says.
type form struct {
	Verb, ClientID, MessageID, Type, Reason string
	Seq, From, To                           int64
	Since                                   string
	All, Confirmed                          bool
	Typed                                   string // the client_id once more, of an erasure
	Selected                                []int64
	Key                                     string
}

// mistake is a form that a person must mend.
func mistake(detail string) error {
	return &problem{Status: http.StatusBadRequest, Title: "The form is not complete", Detail: detail}
}

func (v *visit) form() (f form, err error) {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return f, mistake("It can't be read: " + err.Error())
	}
	p := v.r.PostForm
	f = form{
		Verb: p.Get("verb"), ClientID: p.Get("client_id"), MessageID: p.Get("message_id"), Type: p.Get("type"), Reason: strings.TrimSpace(p.Get("reason")),
		Since: p.Get("since"), All: p.Get("all") != "", Confirmed: p.Get("confirmed") != "", Typed: p.Get("typed"), Key: p.Get("key"),
	}
	numbers := []struct {
		name string
		into *int64
	}{{"seq", &f.Seq}, {"from", &f.From}, {"to", &f.To}}
	for _, n := range numbers {
		if text := p.Get(n.name); text != "" {
			if *n.into, err = strconv.ParseInt(text, 10, 64); err != nil || *n.into < 0 {
				return f, mistake(n.name + " must be a whole number.")
			}
		}
	}
	for _, text := range p["selected"] {
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f, mistake("What is selected must be events.")
		}
		f.Selected = append(f.Selected, seq)
	}
	switch {
	case f.Reason == "":
		return f, mistake("Say why: the reason is in the audit for those that come after you.")
	case len(f.Selected) > 2*listed:
		return f, mistake("Too many events are selected.")
	}
	return f, nil
}

// done is what came of an act.
type done struct {
	Form   form
	What   string
	Answer string // the API's, in JSON
	Audit  int64
	Count  int64
	More   bool
	Back   string
}

// act is POST /act: what a verb's form asks for. What concerns many is counted first.
func (p *Page) act(v *visit) error {
	f, err := v.form()
	if err != nil {
		return err
	}
	switch {
	case f.Verb == "erase" && f.Typed != f.ClientID:
		return mistake("To erase the account type its client_id exactly as it is; it was not, so nothing was done.")
	case f.Verb == "redrive" && len(f.Selected) > 0:
		return v.redriveSelected(f)
	case (f.Verb == "replay" || f.Verb == "redrive" && f.Seq == 0) && !f.Confirmed:
		return v.confirm(f)
	}
	method, path, body, err := f.request(false)
	if err != nil {
		return err
	}
	key := f.Key
	if f.Verb == "erase" { // it may be sent again without one, and takes as long as there is to delete
		key = ""
		_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(eraseTime))
	}
	var answer json.RawMessage
	if err := v.ask(method, path, body, key, &answer); err != nil {
		return err
	}
	d := done{Form: f, What: f.what(), Answer: pretty(answer), Back: f.back()}
	var of struct {
		Audit int64 `json:"audit"`
		Count int64 `json:"count"`
		More  bool  `json:"more"`
	}
	if json.Unmarshal(answer, &of) == nil {
		d.Audit, d.Count, d.More = of.Audit, of.Count, of.More
	}
	return v.show(http.StatusOK, "acted", "Done", d)
}

// confirm counts what the form would do, and asks again.
func (v *visit) confirm(f form) error {
	method, path, body, err := f.request(true)
	if err != nil {
		return err
	}
	var count struct {
		Count int64 `json:"count"`
	}
	if err := v.ask(method, path, body, "", &count); err != nil {
		return err
	}
	return v.show(http.StatusOK, "confirm", "Is that meant?", done{Form: f, What: f.what(), Count: count.Count, Back: f.back()})
}

// redriveSelected runs events again one by one, each with a key of its own.
func (v *visit) redriveSelected(f form) error {
	d := done{Form: f, What: f.what(), Back: f.back()}
	for _, seq := range f.Selected {
		body := map[string]any{"seq": seq, "reason": f.Reason}
		if f.ClientID != "" {
			body["client_id"] = f.ClientID
		}
		var answer struct {
			Audit int64 `json:"audit"`
		}
		if err := v.ask(http.MethodPost, "/v1/dead/redrive", body, f.Key+"-"+strconv.FormatInt(seq, 10), &answer); err != nil {
			if p, ok := err.(*problem); ok {
				p.Detail += " (seq " + strconv.FormatInt(seq, 10) + "; " + strconv.FormatInt(d.Count, 10) + " before it run again)"
			}
			return err
		}
		d.Count, d.Audit = d.Count+1, answer.Audit
	}
	return v.show(http.StatusOK, "acted", "Done", d)
}

// request returns the API's request that the form stands for.
func (f *form) request(dryRun bool) (method, path string, body map[string]any, err error) {
	body = map[string]any{"reason": f.Reason}
	set := func(name string, value any, is bool) {
		if is {
			body[name] = value
		}
	}
	method = http.MethodPost
	switch f.Verb {
	case "pause", "resume":
		switch {
		case f.ClientID != "":
			path = accountPath(f.ClientID) + "/" + f.Verb
		case f.Type != "":
			path = "/v1/types/" + url.PathEscape(f.Type) + "/" + f.Verb
		default:
			path = "/v1/" + f.Verb
		}
	case "retry", "skip":
		path = accountPath(f.ClientID) + "/" + f.Verb
		body["seq"] = f.Seq
	case "replay":
		path = accountPath(f.ClientID) + "/replay"
		set("from", f.From, f.From > 0)
		set("to", f.To, f.To > 0)
		set("dry_run", true, dryRun)
	case "erase":
		path = accountPath(f.ClientID) + "/erase"
	case "cancel":
		method, path = http.MethodDelete, eventPath(f.ClientID, f.MessageID)
	case "redrive":
		path = "/v1/dead/redrive"
		set("seq", f.Seq, f.Seq > 0)
		set("client_id", f.ClientID, f.ClientID != "")
		set("type", f.Type, f.Type != "")
		set("since", f.Since, f.Since != "")
		set("all", true, f.Seq == 0 && f.ClientID == "" && f.Type == "" && f.Since == "")
		set("dry_run", true, dryRun)
	default:
		return "", "", nil, mistake("There is no such verb.")
	}
	if f.ClientID == "" && slices.Contains([]string{"retry", "skip", "replay", "erase", "cancel"}, f.Verb) {
		return "", "", nil, mistake("It names no account.")
	}
	return method, path, body, nil
}

// what says what the form does, for people.
func (f *form) what() string {
	of := "everything"
	switch {
	case len(f.Selected) > 0:
		of = strconv.Itoa(len(f.Selected)) + " events"
	case f.MessageID != "":
		of = "event " + visible(f.MessageID) + " of " + visible(f.ClientID)
	case f.Seq > 0 && f.Verb != "pause" && f.Verb != "resume": // whose form has the head's seq too, for its other verbs
		of = "seq " + strconv.FormatInt(f.Seq, 10) + " of " + visible(f.ClientID)
	case f.ClientID != "":
		of = "account " + visible(f.ClientID)
	case f.Type != "":
		of = "type " + visible(f.Type)
	case f.Verb == "redrive":
		of = "all dead events"
	}
	return f.Verb + " " + of
}

// back is the page that the form stood on.
func (f *form) back() string {
	switch {
	case f.Verb == "redrive":
		return link("/dead", "client_id", f.ClientID, "type", f.Type, "since", f.Since)
	case f.Verb == "erase":
		return "/accounts"
	case f.ClientID != "":
		return link("/account", "client_id", f.ClientID)
	}
	return "/"
}
