package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// verifier judges the listing of events, which it is given in seq order, by what the
// tester sent and was answered.
type verifier struct {
	plan     *plan
	answers  []answer
	accepted int     // messages that were answered as accepted
	seqs     []int64 // by shot: the receipt's seq of the message it was first to carry, 0 for none
	acceptor []int32 // by shot: the shot that was told "new"; -1 where that is not known
	maybe    []bool  // by shot: some request of the message had no sure answer
	firstSeq int64
	lastSeq  int64

	seen    []bool // by shot
	last    []lastOf
	pairs   map[pair]chat
	clients map[int64]pair
	dialogs map[int64]pair
	lags    []uint32 // micros from accepted to done

	violations int
	examples   []string
}

// pair is what a client of the database is found by.
type pair struct {
	clientID int32
	phone    string
}

type chat struct{ client, dialog int64 }

// lastOf is the last event of a client in the listing.
type lastOf struct {
	message  int64 // its row
	finished time.Time
	acceptor int32
}

func newVerifier(p *plan, answers []answer) *verifier {
	v := &verifier{
		plan: p, answers: answers,
		seqs: make([]int64, len(p.shots)), acceptor: make([]int32, len(p.shots)), maybe: make([]bool, len(p.shots)),
		seen: make([]bool, len(p.shots)), last: make([]lastOf, len(p.counts)),
		pairs: map[pair]chat{}, clients: map[int64]pair{}, dialogs: map[int64]pair{},
	}
	for i := range v.acceptor {
		v.acceptor[i] = -1
	}
	for i := range p.shots {
		v.judgeAnswer(int32(i))
	}
	for i, s := range p.shots {
		if s.kind != shotValid || v.seqs[i] == 0 {
			continue
		}
		v.accepted++
		if v.acceptor[i] < 0 && !v.maybe[i] {
			v.violate("client %d, message %d: each of its receipts says that another one was first", s.client, s.n)
		}
	}
	return v
}

// judgeAnswer compares the receipts of a message with each other.
func (v *verifier) judgeAnswer(i int32) {
	s, a := v.plan.shots[i], v.answers[i]
	if s.kind == shotInvalid {
		return
	}
	switch {
	case a.status == 0, a.status == http.StatusServiceUnavailable:
		v.maybe[s.of] = true // 503 may be outcome-unknown
	case a.status != http.StatusOK && a.status != http.StatusAccepted:
	case a.seq <= 0:
		v.violate("client %d, message %d: its receipt has no seq", s.client, s.n)
	default:
		if old := v.seqs[s.of]; old != 0 && old != a.seq {
			v.violate("client %d, message %d: receipts say seq %d and %d", s.client, s.n, old, a.seq)
		}
		v.seqs[s.of] = a.seq
		if !a.repeat {
			if v.acceptor[s.of] >= 0 {
				v.violate("client %d, message %d: was accepted as new twice", s.client, s.n)
			}
			v.acceptor[s.of] = i
		}
		v.lastSeq = max(v.lastSeq, a.seq)
		if v.firstSeq == 0 || a.seq < v.firstSeq {
			v.firstSeq = a.seq
		}
	}
}

const maxExamples = 10

func (v *verifier) violate(format string, args ...any) {
	if v.violations++; len(v.examples) < maxExamples {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// listed is an event as GET /v1/events shows it.
type listed struct {
	ClientID   string         `json:"client_id"`
	MessageID  string         `json:"message_id"`
	Seq        int64          `json:"seq"`
	State      string         `json:"state"`
	Payload    jsontext.Value `json:"payload"`
	ReceivedAt time.Time      `json:"received_at"`
	FinishedAt time.Time      `json:"finished_at"`
	Result     jsontext.Value `json:"result"`
	Error      string         `json:"error"`
}

// ours returns the shot that was first to carry the event; ok is false for another's.
func (v *verifier) ours(ev *listed) (shot int32, ok bool) {
	id, ok := strings.CutPrefix(ev.MessageID, v.plan.run+"-")
	if !ok {
		return 0, false
	}
	client, err := strconv.Atoi(strings.TrimPrefix(ev.ClientID, "client"))
	n, err2 := strconv.Atoi(id)
	if err != nil || err2 != nil || client >= len(v.plan.first) || n < 1 || n > len(v.plan.first[client]) {
		v.violate("event %d (client_id %q, message_id %q) should have been refused", ev.Seq, ev.ClientID, ev.MessageID)
		return 0, false
	}
	return v.plan.first[client][n-1], true
}

// judge takes the next event of the listing. It returns false, and judges nothing,
// where it is one of the test's that is not processed yet.
func (v *verifier) judge(ev *listed) bool {
	i, ok := v.ours(ev)
	if !ok {
		return true
	}
	if ev.State == "pending" {
		return false
	}
	s := v.plan.shots[i]
	name := fmt.Sprintf("client %d, message %d (seq %d)", s.client, s.n, ev.Seq)
	switch {
	case v.seen[i]:
		v.violate("%s: is there twice", name)
	case v.seqs[i] != 0 && v.seqs[i] != ev.Seq:
		v.violate("%s: its receipt says seq %d", name, v.seqs[i])
	case v.seqs[i] == 0 && !v.maybe[i]:
		v.violate("%s: was refused, and is there", name)
	}
	v.seen[i] = true
	if ev.State != "done" {
		v.violate("%s: is %s: %s", name, ev.State, ev.Error)
		return true
	}
	var payload struct{ Phone, Text string }
	var result struct{ Client, Dialog, Message int64 }
	match := jsonv2.MatchCaseInsensitiveNames(true)
	if err := errors.Join(jsonv2.Unmarshal(ev.Payload, &payload, match), jsonv2.Unmarshal(ev.Result, &result, match)); err != nil {
		v.violate("%s: %v", name, err)
		return true
	}
	if payload.Phone != phone(s.client, s.n) || payload.Text != strconv.Itoa(int(s.n)) {
		v.violate("%s: has another message's payload", name)
	}
	v.judgeTurn(name, i, ev, result.Message)
	v.judgeChat(name, pair{s.client, payload.Phone}, chat{result.Client, result.Dialog})
	v.lags = append(v.lags, uint32(min(max(ev.FinishedAt.Sub(ev.ReceivedAt).Microseconds(), 0), 1<<32-1)))
	return true
}

// judgeTurn compares with the client's last event: what comes later in the listing
// was sent later, was processed later, and its message has a greater id.
func (v *verifier) judgeTurn(name string, i int32, ev *listed, message int64) {
	s := v.plan.shots[i]
	last := &v.last[s.client]
	if message <= last.message || ev.FinishedAt.Before(last.finished) {
		v.violate("%s: was processed before its predecessor", name)
	}
	last.message, last.finished = max(message, last.message), ev.FinishedAt
	if by := v.acceptor[i]; by >= 0 && !s.raced {
		if by < last.acceptor {
			v.violate("%s: was sent before its predecessor", name)
		}
		last.acceptor = max(last.acceptor, by)
	}
}

// judgeChat: a (client_id, phone) is one client with one dialog, and no other's.
func (v *verifier) judgeChat(name string, p pair, c chat) {
	if was, ok := v.pairs[p]; ok && was != c {
		v.violate("%s: the client and dialog of %s are %d and %d, and were %d and %d", name, p.phone, c.client, c.dialog, was.client, was.dialog)
	} else if !ok {
		v.pairs[p] = c
	}
	for _, owner := range []struct {
		of   map[int64]pair
		id   int64
		what string
	}{{v.clients, c.client, "client"}, {v.dialogs, c.dialog, "dialog"}} {
		if was, ok := owner.of[owner.id]; ok && was != p {
			v.violate("%s: %s %d is also that of client %d, %s", name, owner.what, owner.id, was.clientID, was.phone)
		} else if !ok {
			owner.of[owner.id] = p
		}
	}
}

// end counts what was accepted and did not appear.
func (v *verifier) end() {
	for i, seq := range v.seqs {
		if seq != 0 && !v.seen[i] {
			v.violate("client %d, message %d (seq %d): was accepted, and is not processed", v.plan.shots[i].client, v.plan.shots[i].n, seq)
		}
	}
}

const (
	verifyPage  = 1000 // events
	verifyAgain = 200 * time.Millisecond
	maxPageBody = 64 << 20
)

// read reads the listing from the first accepted event on, each event once it is
// processed, and judges it. Where nothing is processed for patience it goes on to
// the judgement.
func (v *verifier) read(ctx context.Context, c Client, patience time.Duration, progress *meter) error {
	defer v.end()
	if v.accepted == 0 {
		return nil
	}
	client, err := c.HTTP()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	after, since, judged := v.firstSeq-1, time.Now(), 0
	for {
		page, err := readPage(ctx, client, fmt.Sprintf("%s/v1/events?after=%d&limit=%d", c.URL, after, verifyPage))
		if err != nil && (ctx.Err() != nil || time.Since(since) > patience) {
			return err
		}
		moved := false
		all := err == nil
		for i := range page.Events {
			ev := &page.Events[i]
			if !v.judge(ev) {
				all = false
				break
			}
			after, moved = ev.Seq, true
			judged++
		}
		progress.show(min(judged, v.accepted))
		switch {
		case moved:
			since = time.Now()
		case all, time.Since(since) > patience:
			return nil
		}
		if all && (page.Next == 0 || after >= v.lastSeq) {
			return nil
		}
		if !all {
			if err := sleep(ctx, verifyAgain); err != nil {
				return err
			}
		}
	}
}

// eventPage is a page of GET /v1/events.
type eventPage struct {
	Events []listed `json:"events"`
	Next   int64    `json:"next"`
}

func readPage(ctx context.Context, client *http.Client, url string) (eventPage, error) {
	var page eventPage
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return page, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return page, err
	}
	if resp.StatusCode != http.StatusOK {
		return page, problem(resp)
	}
	err = jsonv2.UnmarshalRead(io.LimitReader(resp.Body, maxPageBody), &page)
	return page, errors.Join(err, resp.Body.Close())
}
