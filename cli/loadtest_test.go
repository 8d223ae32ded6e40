package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// chatServer takes messages and processes them at once, as the real one would, but
// for one fault that it is told to have.
type chatServer struct {
	fault string

	mu      sync.Mutex
	posts   int
	events  []*chatEvent // in seq order
	byID    map[string]*chatEvent
	clients map[string]int64
	polls   int
	struck  bool // by a fault that strikes once
}

type chatEvent struct {
	ClientID   string          `json:"client_id"`
	MessageID  string          `json:"message_id"`
	Seq        int64           `json:"seq"`
	State      string          `json:"state"`
	Payload    json.RawMessage `json:"payload"`
	ReceivedAt time.Time       `json:"received_at"`
	FinishedAt time.Time       `json:"finished_at"`
	Result     json.RawMessage `json:"result"`
}

func (c *chatServer) start(t *testing.T) Client {
	c.byID, c.clients = map[string]*chatEvent{}, map[string]int64{}
	server := httptest.NewUnstartedServer(c)
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeCA(t, server, ca)
	return Client{URL: server.URL, CACert: ca, Token: "secret"}
}

func (c *chatServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer secret":
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet:
		c.list(w, r)
	default:
		c.post(w, r)
	}
}

func (c *chatServer) post(w http.ResponseWriter, r *http.Request) {
	c.posts++
	var ev struct {
		ClientID  string `json:"client_id"`
		MessageID string `json:"message_id"`
		Type      string
		Payload   struct{ Phone, Text string }
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&ev)
	bad := err != nil || ev.ClientID == "" || ev.MessageID == "" || ev.Type != "" ||
		!strings.HasPrefix(ev.Payload.Phone, "+") || ev.Payload.Text == ""
	switch {
	case bad && c.fault == "takes invalid" && ev.ClientID != "" && ev.MessageID != "":
	case bad:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := ev.ClientID + " " + ev.MessageID
	old := c.byID[key]
	fault := !c.struck && c.posts >= 300 // the 300th itself may be an invalid one
	switch {
	case c.fault == "overload" && c.posts%3 == 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case c.fault == "refuses and keeps" && old == nil && c.posts > 300:
		c.fault = ""
		c.add(ev.ClientID, ev.MessageID, ev.Payload.Phone, ev.Payload.Text)
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case c.fault == "breaks off" && fault:
		c.struck = true
		breakOff(w)
		return
	case c.fault == "404" && fault:
		c.struck = true
		w.WriteHeader(http.StatusNotFound)
		return
	case c.fault == "forgets ids" && old != nil:
		old = nil
		c.byID[key] = nil
	}
	if old != nil && c.fault != "says new twice" {
		answerReceipt(w, http.StatusOK, old, true)
		return
	}
	if old != nil {
		answerReceipt(w, http.StatusAccepted, old, false)
		return
	}
	e := c.add(ev.ClientID, ev.MessageID, ev.Payload.Phone, ev.Payload.Text)
	answerReceipt(w, http.StatusAccepted, e, false)
}

func answerReceipt(w http.ResponseWriter, status int, e *chatEvent, repeat bool) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"client_id":%q,"message_id":%q,"seq":%d,"state":"pending","duplicate":%t}`, e.ClientID, e.MessageID, e.Seq, repeat)
}

func (c *chatServer) add(clientID, messageID, phone, text string) *chatEvent {
	pair := clientID + " " + phone
	n := int64(len(c.events) + 1)
	if c.fault == "one client a phone" {
		pair = phone
	}
	another := c.fault == "two dialogs" && !c.struck && n >= 400 && c.clients[pair] != 0
	if another || c.clients[pair] == 0 {
		c.struck = c.struck || another
		c.clients[pair] = int64(len(c.clients)) + n*1000
	}
	e := &chatEvent{ClientID: clientID, MessageID: messageID, Seq: n, State: "done", ReceivedAt: time.Now(), FinishedAt: time.Now(),
		Payload: json.RawMessage(fmt.Sprintf(`{"phone":%q,"text":%q}`, phone, text)),
		Result:  json.RawMessage(fmt.Sprintf(`{"client":%d,"dialog":%d,"message":%d}`, c.clients[pair], c.clients[pair]+7, n))}
	if c.fault == "dies" && n == 200 {
		e.State = "dead"
	}
	c.events = append(c.events, e)
	c.byID[clientID+" "+messageID] = e
	return e
}

func (c *chatServer) list(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	c.tamper()
	c.polls++
	var page []chatEvent
	for _, e := range c.events[min(after, len(c.events)):] {
		if len(page) == limit {
			break
		}
		shown := *e
		if c.polls <= 2 && e.Seq == 100 || c.fault == "never ends" && e.Seq == 500 {
			shown.State = "pending"
		}
		if c.fault == "loses" && e.Seq == 50 {
			continue
		}
		page = append(page, shown)
	}
	result := map[string]any{"events": page}
	if len(page) == limit {
		result["next"] = page[limit-1].Seq
	}
	json.NewEncoder(w).Encode(result)
}

// tamper swaps two events of a client, as a server that runs them out of turn would.
func (c *chatServer) tamper() {
	if c.fault != "out of turn" && c.fault != "another's payload" {
		return
	}
	for i, a := range c.events {
		for _, b := range c.events[i+1:] {
			if a.ClientID != b.ClientID || string(a.Payload[:24]) != string(b.Payload[:24]) {
				continue
			}
			if c.fault == "out of turn" {
				a.Result, b.Result = b.Result, a.Result
			} else {
				a.Payload, b.Payload = b.Payload, a.Payload
			}
			c.fault = ""
			return
		}
	}
}

func testLoad(client Client) LoadTest {
	return LoadTest{Client: client, Rate: 5000, Duration: 400 * time.Millisecond, Clients: 40, Valid: 90, Duplicates: 5, Invalid: 5,
		Connections: 8, Patience: time.Second, Seed: 1, JSON: true}
}

func TestLoadTest(t *testing.T) {
	server := &chatServer{}
	out, written, progress := newIO()
	l := testLoad(server.start(t))
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	var r loadReport
	if err := json.Unmarshal(written.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Offered != 2000 || r.Answered != 2000 || r.Accepted+r.Duplicates+r.Invalid != 2000 || r.Processed != r.Accepted || r.Processed != len(server.events) {
		t.Errorf("%+v, %d events", r, len(server.events))
	}
	if r.Duplicates < 50 || r.Invalid < 50 || r.Accepted < 1700 || r.Clients < 60 || r.Rate <= 0 || r.Accept.Max <= 0 {
		t.Errorf("%+v", r)
	}
	if !strings.HasSuffix(strings.TrimRight(progress.String(), "\n"), "/s") || !strings.Contains(progress.String(), fmt.Sprintf("verified %d of %d", r.Accepted, r.Accepted)) {
		t.Errorf("progress %s", progress)
	}
	l.JSON = false
	out, written, _ = newIO()
	if err := l.Run(t.Context(), out); err != nil { // the same clients and dialogs, new ids
		t.Fatal(err)
	}
	if !strings.Contains(written.String(), "violations  0 ") {
		t.Errorf("%s", written)
	}
}

// Each fault of a server is found, and named.
func TestLoadTestFinds(t *testing.T) {
	for _, c := range []struct{ fault, says string }{
		{"loses", "was accepted, and is not processed"},
		{"never ends", "was accepted, and is not processed"},
		{"forgets ids", "receipts say seq"},
		{"says new twice", "was accepted as new twice"},
		{"refuses and keeps", "1 violations"},
		{"takes invalid", "unexpected answers"},
		{"takes invalid", "should have been refused"},
		{"dies", "is dead"},
		{"out of turn", "was processed before its predecessor"},
		{"another's payload", "has another message's payload"},
		{"two dialogs", "the client and dialog of"},
		{"one client a phone", "is also that of client"},
		{"breaks off", "without an answer"},
		{"404", "1 unexpected answers"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			server := &chatServer{fault: c.fault}
			out, _, _ := newIO()
			err := testLoad(server.start(t)).Run(t.Context(), out)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("said %v", err)
			}
		})
	}
}

// A wrong address is told before anything is offered.
func TestLoadTestBeginsWhereItCanVerify(t *testing.T) {
	server := &chatServer{}
	plain := testLoad(server.start(t))
	plain.URL = strings.Replace(plain.URL, "https://", "http://", 1)
	unknown := testLoad(server.start(t))
	unknown.CACert = ""
	gone := testLoad(server.start(t))
	gone.URL = "https://127.0.0.1:1"
	for _, c := range []struct {
		l    LoadTest
		hint string
	}{{plain, "https://"}, {unknown, "--cacert"}, {gone, "is the server running"}} {
		out, written, progress := newIO()
		if err := c.l.Run(t.Context(), out); !hinted(err, c.hint) {
			t.Errorf("said %v, want the hint %q", err, c.hint)
		}
		if written.Len() > 0 || progress.Len() > 0 {
			t.Errorf("it has begun: %s%s", progress, written)
		}
	}
}

// What is refused for overload is counted and is no fault, also where a later
// duplicate is then accepted as new.
func TestLoadTestOverload(t *testing.T) {
	server := &chatServer{fault: "overload"}
	out, written, _ := newIO()
	if err := testLoad(server.start(t)).Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	var r loadReport
	if err := json.Unmarshal(written.Bytes(), &r); err != nil || r.Overload < 400 || r.Refuse.Max <= 0 || r.Answered != r.Offered {
		t.Errorf("%v, %+v", err, r)
	}
}

// A server that stops for a while makes everything late that was due meanwhile, not
// one request a connection: arrivals don't wait, and time counts from when they were due.
func TestLoadTestOpenLoop(t *testing.T) {
	const pause = 500 * time.Millisecond
	var once sync.Once
	server := &chatServer{}
	client := server.start(t)
	stop := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			once.Do(func() { server.mu.Lock(); time.Sleep(pause); server.mu.Unlock() })
		}
		server.ServeHTTP(w, r)
	}))
	stop.StartTLS()
	defer stop.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeCA(t, stop, ca)
	client.URL, client.CACert = stop.URL, ca
	out, written, _ := newIO()
	if err := testLoad(client).Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	var r loadReport
	if err := json.Unmarshal(written.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	// All 400 ms of arrivals fall into the pause: the middle one waited 300 ms.
	if r.Accept.P50 < 250 || r.Accept.Max < 450 {
		t.Errorf("accept %+v", r.Accept)
	}
}

func TestPlan(t *testing.T) {
	l := testLoad(Client{})
	l.Duration = 4 * time.Second
	p := newPlan(l, "run")
	kinds := map[shotKind]int{}
	raced, shared := 0, map[string]map[int32]bool{}
	for i, s := range p.shots {
		kinds[s.kind]++
		body := string(p.appendBody(nil, int32(i)))
		var ev struct {
			ClientID  string `json:"client_id"`
			MessageID string `json:"message_id"`
			Payload   struct{ Phone, Text string }
		}
		err := json.Unmarshal([]byte(body), &ev)
		if s.kind == shotInvalid {
			continue
		}
		if err != nil || ev.ClientID != clientID(int(s.client)) || ev.MessageID != fmt.Sprintf("run-%d", s.n) || ev.Payload.Phone != phone(s.client, s.n) {
			t.Fatalf("%s: %v", body, err)
		}
		if shared[ev.Payload.Phone] == nil {
			shared[ev.Payload.Phone] = map[int32]bool{}
		}
		shared[ev.Payload.Phone][s.client] = true
		first := p.shots[s.of]
		switch {
		case s.kind == shotValid && (s.of != int32(i) || s.conn != s.client%8):
			t.Errorf("shot %d: %+v", i, s)
		case s.kind == shotDuplicate && (int(s.of) >= i || first.client != s.client || first.n != s.n):
			t.Errorf("shot %d: %+v repeats %+v", i, s, first)
		case s.kind == shotDuplicate && s.conn != first.conn:
			if raced++; !first.raced {
				t.Errorf("shot %d: %+v races %+v", i, s, first)
			}
		}
	}
	if n := len(p.shots); n != 20000 || kinds[shotValid] < 17500 || kinds[shotDuplicate] < 800 || kinds[shotInvalid] < 800 || raced < 300 || raced > kinds[shotDuplicate]-300 {
		t.Errorf("%d shots, %v, %d raced", n, kinds, raced)
	}
	least, most := p.counts[0], p.counts[0]
	for _, n := range p.counts {
		least, most = min(least, n), max(most, n)
	}
	if most < 2*least {
		t.Errorf("clients send %d to %d messages", least, most)
	}
	two := 0
	for phone, clients := range shared {
		if two += len(clients) - 1; len(clients) > 2 {
			t.Errorf("%s: clients %v", phone, clients)
		}
	}
	if two < 40 { // of 60 phones; a client that sends very little has not used all of its own
		t.Errorf("%d phones of %d are used by two clients", two, len(shared))
	}
}

func TestReadAnswer(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, c := range []struct {
		text   string
		status int
		body   string
		last   bool
	}{
		{"HTTP/1.1 202 Accepted\r\nContent-Type: a\r\ncontent-length: 3\r\n\r\nabc", 202, "abc", false},
		{"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 503, "", true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + long, 200, long, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, "", false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", 0, "", false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", 0, "", false},
		{"HTTP/1.1 200 OK\r\nContent-Le", 0, "", false},
		{"HTTP/2.0 200 OK\r\n\r\n", 0, "", false},
		{"SSH-2.0-other server\r\n", 0, "", false},
	} {
		status, body, last, err := readAnswer(bufio.NewReaderSize(strings.NewReader(c.text), wireBuffer))
		if c.status == 0 {
			if err == nil {
				t.Errorf("%.40q is taken", c.text)
			}
			continue
		}
		if err != nil || status != c.status || string(body) != c.body || last != c.last {
			t.Errorf("%.40q: %d %.20q %v %v", c.text, status, body, last, err)
		}
	}
}

func TestLoadTestNoServer(t *testing.T) {
	out, _, _ := newIO()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if err := testLoad(Client{URL: server.URL}).Run(t.Context(), out); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("said %v", err)
	}
	if err := testLoad(Client{URL: "wss://x"}).Run(t.Context(), out); err == nil {
		t.Error("wss is taken")
	}
	for _, change := range []func(*LoadTest){
		func(l *LoadTest) { l.Rate = 0 }, func(l *LoadTest) { l.Duration = 0 }, func(l *LoadTest) { l.Duration = 10 * time.Hour },
		func(l *LoadTest) { l.Clients = 0 }, func(l *LoadTest) { l.Valid = 0 }, func(l *LoadTest) { l.Invalid = -1 },
		func(l *LoadTest) { l.Connections = 0 }, func(l *LoadTest) { l.Patience = 0 },
	} {
		l := testLoad(Client{})
		change(&l)
		if l.Validate() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}
