package proofs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// idle opens 2,000 connections (as many as this process may, if those are fewer),
// half of which speak HTTP/2, and says nothing on them.
func idle(a *assault) error {
	n := many(2000, 400)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if may := int(min(limit.Cur, 1<<20)) - 200; n > may {
		a.t.Logf("idle connections: %d in place of %d, because of RLIMIT_NOFILE", may, n)
		n = may
	}
	for i := range n {
		proto := "http/1.1"
		if i%2 == 1 {
			proto = "h2"
		}
		c, err := a.connect(proto)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if proto == "h2" {
			if _, err := newH2(c); err != nil {
				return err
			}
		}
	}
	return a.meanwhile(60)
}

// open opens n connections over HTTP/1.1 and sends text on each.
func (a *assault) open(n int, text string) ([]net.Conn, error) {
	var list []net.Conn
	for range n {
		c, err := a.connect("http/1.1")
		if err != nil {
			return list, err
		}
		if _, err := io.WriteString(c, text); err != nil {
			return list, err
		}
		list = append(list, c)
	}
	return list, nil
}

const (
	halfHeader = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
	halfBody   = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" +
		`{"client_id":"cut","message_id":"1","payload":{"text":"` + canary
)

// drip sends a byte on each connection again and again while others are served. One
// that was cut off by then is as good.
func (a *assault) drip(conns []net.Conn) error {
	for range 10 {
		for _, c := range conns {
			c.Write([]byte("x"))
		}
		if err := a.meanwhile(5); err != nil {
			return err
		}
	}
	return nil
}

func slowHeaders(a *assault) error {
	conns, err := a.open(many(200, 50), halfHeader)
	if err != nil {
		return err
	}
	return a.drip(conns)
}

func slowBodies(a *assault) error {
	conns, err := a.open(many(200, 50), halfBody)
	if err != nil {
		return err
	}
	return a.drip(conns)
}

// dripUntilCut sends on, a byte a second, until the server has had enough of each
// connection, and returns what it said.
func (a *assault) dripUntilCut(conns []net.Conn) ([][]byte, error) {
	type end struct {
		said []byte
		err  error
	}
	ends := make(chan end, len(conns))
	for _, c := range conns {
		go func() {
			said, err := io.ReadAll(c)
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				ends <- end{said, errors.New("was not cut off")}
				return
			}
			ends <- end{said, nil}
		}()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var all [][]byte
	for len(all) < len(conns) {
		select {
		case e := <-ends:
			if e.err != nil {
				return all, e.err
			}
			all = append(all, e.said)
		case <-tick.C:
			for _, c := range conns {
				c.Write([]byte("x")) // an error is what is waited for
			}
		}
	}
	return all, nil
}

func slowHeadersAreCut(a *assault) error {
	conns, err := a.open(50, halfHeader)
	if err != nil {
		return err
	}
	silent, err := a.open(50, "")
	if err != nil {
		return err
	}
	_, err = a.dripUntilCut(append(conns, silent...))
	return err
}

func slowBodiesAreCut(a *assault) error {
	conns, err := a.open(50, halfBody)
	if err != nil {
		return err
	}
	all, err := a.dripUntilCut(conns)
	told := 0
	for _, said := range all {
		if bytes.HasPrefix(said, []byte("HTTP/1.1 408 ")) && bytes.Contains(said, []byte("urn:inturn:problem:request-timeout")) {
			told++
		}
	}
	// A client that still sends when the connection is closed may lose the answer to a reset.
	if err == nil && told == 0 {
		err = errors.New("nobody was told that it is too slow")
	}
	return err
}

// heldBodies sends more unfinished bodies than the server has room for, with no token
// asked, on few connections. It may refuse large bodies meanwhile, not small ones.
func heldBodies(a *assault) error {
	const each = 1<<20 - 1
	filler := bytes.Repeat([]byte("x"), 16<<10)
	for range 2 {
		c, err := a.connect("h2")
		if err != nil {
			return err
		}
		h, err := newH2(c)
		if err != nil {
			return err
		}
		if err := h.fillBodies(200, each, filler); err != nil {
			return err
		}
	}
	return a.meanwhile(100)
}

// noHTTP sends what no HTTP server expects, before TLS, in its handshake and after it.
func noHTTP(a *assault) error {
	noise := bytes.Repeat([]byte{0, 0xff, '\r', '\n', 0x16, 3, 1}, 5000)
	for i := range 60 {
		var c net.Conn
		var err error
		if i%2 == 0 {
			if c, err = net.Dial("tcp", a.addr); err == nil {
				a.mine(c)
				c.SetDeadline(time.Now().Add(patience))
			}
		} else {
			c, err = a.connect("http/1.1")
		}
		if err != nil {
			return err
		}
		switch i % 6 {
		case 0:
			c.Write([]byte{0x16, 3, 1, 0x40, 0, 1}) // half a ClientHello, and off
			abort(c)
			continue
		case 1, 2:
			c.Write(noise)
		case 3:
			c.Write([]byte("GET / HTTP/9.9\r\n\r\n"))
		case 4:
			c.Write([]byte("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		case 5:
			c.Write([]byte("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"))
		}
		said, err := io.ReadAll(c) // an answer and the end; a reset where it was not read whole
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return fmt.Errorf("kind %d was not closed", i%6)
		}
		if bytes.HasPrefix(said, []byte("HTTP/1.1 2")) {
			return fmt.Errorf("kind %d was answered %.60q", i%6, said)
		}
	}
	return nil
}

// cutRequests ends requests of every form in their middle.
func cutRequests(a *assault) error {
	head := func(media, more string) string {
		return "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + media + "\r\n" + more + "\r\n"
	}
	half := `{"client_id":"cut","message_id":"1","payload":{"phone":"+70000000001","text":"` + canary
	whole := half + `"}}`
	for _, text := range []string{
		"POST /v1/ev",
		head("application/json", "Content-Length: 1000\r\n"),
		head("application/json", "Content-Length: 1000\r\n") + half,
		head("application/json", "Content-Length: 1000\r\n") + whole, // whole JSON, not a whole body
		head("application/json", "Transfer-Encoding: chunked\r\n") + "ff",
		head("application/json", "Transfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n", len(whole), whole),
		head("application/json", "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n" + half,
		head("application/json", "Content-Length: 1000\r\n") + "[" + whole + ",",
		head("application/cloudevents+json", "Content-Length: 1000\r\n") + half,
		head("application/json", "Content-Length: 1000\r\nCe-Specversion: 1.0\r\nCe-Id: 1\r\nCe-Source: cut\r\nCe-Type: work\r\n") + "{}",
		head("application/x-ndjson", "Content-Length: 1000\r\n") + half,
	} {
		conns, err := a.open(20, text)
		if err != nil {
			return err
		}
		for i, c := range conns {
			if i%2 == 0 {
				abort(c)
			} else {
				c.Close()
			}
		}
	}
	return a.meanwhile(20)
}

// hostileJSON sends JSON that is meant to hurt its reader, in every form.
func hostileJSON(a *assault) error {
	deep := func(n int) string { return strings.Repeat(`{"a":[`, n) + `"` + canary + `"` + strings.Repeat("]}", n) }
	digits := strings.Repeat("9", 100_000)
	event := func(payload string) string {
		return `{"client_id":"json","message_id":"1","type":"message","payload":` + payload + `}`
	}
	text := func(s string) string { return event(`{"phone":"+70000000001","text":` + s + `}`) }
	for _, c := range []struct{ name, event string }{
		{"nested", event(deep(5000))},
		{"nested, not closed", event(strings.Repeat("[", 500_000))},
		{"nested envelope", strings.Repeat(`{"payload":`, 50_000)},
		{"nested objects", event(strings.Repeat(`{"":`, 200_000))},
		{"huge exponent", text("1e999999")},
		{"tiny exponent", text("-1e-999999")},
		{"many digits", text(digits)},
		{"many digits after the point", text("0." + digits)},
		{"many digits of an exponent", text("1e" + digits)},
		{"a number for client_id", `{"client_id":` + digits + `,"message_id":"1","payload":{}}`},
		{"an exponent for message_id", `{"client_id":"json","message_id":1e999999,"payload":{}}`},
		{"milliseconds without end", `{"client_id":"json","message_id":"1","type":"work","payload":{"ms":1e999999}}`},
		{"milliseconds of many digits", `{"client_id":"json","message_id":"1","type":"work","payload":{"ms":` + digits + `}}`},
		{"invalid UTF-8", text("\"" + canary + "\xff\xfe\"")},
		{"overlong UTF-8", text("\"" + canary + "\xc0\xaf\"")},
		{"lone surrogate", text(`"\udead` + canary + `"`)},
		{"NUL", text("\"" + canary + "\x00\"")},
		{"doubled key", event(`{"phone":"+70000000001","text":"` + canary + `","text":"b"}`)},
		{"doubled key in the envelope", `{"client_id":"json","client_id":"` + canary + `","message_id":"1","payload":{}}`},
		{"100,000 keys", event(`{` + strings.Repeat(`"a":1,`, 100_000) + `"a":1}`)},
		{"long unknown key", `{"` + strings.Repeat(canary, 10_000) + `":1}`},
		{"white space", strings.Repeat(" ", 900_000)},
		{"a string without an end", event(`"` + strings.Repeat(canary, 10_000))},
		{"too long", text(`"` + strings.Repeat("x", 1<<20) + `"`)},
	} {
		status, said, err := a.ask("application/json", c.event)
		if err != nil || status != 400 && status != 413 || !strings.Contains(said, `"urn:inturn:problem:`) {
			return fmt.Errorf("%s, alone: %w, %d %.200s", c.name, err, status, said)
		}
		status, said, err = a.ask("application/json", "["+c.event+"]")
		if err != nil || status != 400 && status != 413 && (status != 200 || !strings.Contains(said, `"accepted":0,`)) {
			return fmt.Errorf("%s, in a batch: %w, %d %.200s", c.name, err, status, said)
		}
		line := strings.NewReplacer("\n", " ", "\r", " ").Replace(c.event)
		status, said, err = a.ask("application/x-ndjson", line+"\n")
		if err != nil || status != 200 || strings.TrimSpace(line) != "" && !strings.Contains(said, `{"n":1,"status":4`) {
			return fmt.Errorf("%s, as a line: %w, %d %.200s", c.name, err, status, said)
		}
	}
	// What is only large, and JSON all the same, is kept as it came.
	kept := `{"ms":0,"a":1e999999,"b":` + digits + `,"c":"` + canary + `"}`
	ev := `{"client_id":"numbers","message_id":"1","type":"work","payload":` + kept + `}`
	if status, said, err := a.ask("application/json", ev); err != nil || status != 202 && status != 200 {
		return fmt.Errorf("large numbers: %w, %d %.200s", err, status, said)
	}
	resp, err := a.kept.http.Get(a.url + "/v1/events/numbers/1")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var got struct{ Payload json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || string(got.Payload) != kept {
		return fmt.Errorf("large numbers came back as %.200s (%w)", got.Payload, err)
	}
	return nil
}

// ask posts a body and returns the answer.
func (a *assault) ask(media, body string) (int, string, error) {
	resp, err := a.fresh().http.Post(a.url+"/v1/events", media, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(said), err
}

// longHeaders sends 64 KiB in one header, and in many.
func longHeaders(a *assault) error {
	for _, header := range []string{
		"X-Long: " + strings.Repeat("x", 64<<10) + "\r\n",
		strings.Repeat("X-Many: x\r\n", 6000),
		"Authorization: Bearer " + strings.Repeat("x", 64<<10) + "\r\n",
	} {
		conns, err := a.open(5, "GET /v1/openapi.yaml HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
		if err != nil {
			return err
		}
		for _, c := range conns {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) || err == nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				return fmt.Errorf("%.20s…: %v, %w", header, resp, err)
			}
		}
	}
	return nil
}

// pipelining sends many requests without reading: all are answered, in order. Then it
// sends without end and never reads: the server stops reading too.
func pipelining(a *assault) error {
	c, err := a.connect("http/1.1")
	if err != nil {
		return err
	}
	first, n := a.pipelined.Load(), int64(many(2000, 300))
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 64<<10)
		for i := first; i < first+n; i++ {
			body := fmt.Sprintf(`{"client_id":"pipelined-%d","message_id":"%d","payload":{"phone":"+70000000001","text":"%s"}}`, i%10, i, canary)
			fmt.Fprintf(w, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		sent <- w.Flush()
	}()
	answers := bufio.NewReader(c)
	for i := first; i < first+n; i++ {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		var got struct {
			ID string `json:"message_id"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.ID != fmt.Sprint(i) || resp.StatusCode != http.StatusAccepted {
			return fmt.Errorf("answer %d: %w, %d for %s", i, err, resp.StatusCode, got.ID)
		}
		io.Copy(io.Discard, resp.Body)
		a.pipelined.Add(1)
	}
	if err := <-sent; err != nil {
		return err
	}
	c.SetWriteDeadline(time.Now().Add(time.Duration(many(3, 1)) * time.Second))
	requests := []byte(strings.Repeat("GET /v1/openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000))
	for range 2000 {
		if _, err := c.Write(requests); err != nil {
			return nil
		}
	}
	return errors.New("the server read 100 MB of requests whose answers nobody read")
}

// endlessLine sends NDJSON that never ends its line, and one whose answers nobody reads.
func endlessLine(a *assault) error {
	head := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
	conns, err := a.open(2, head)
	if err != nil {
		return err
	}
	chunk := fmt.Appendf(nil, "10000\r\n%s\r\n", strings.Repeat("x", 0x10000))
	said := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(conns[0])
		said <- b
	}()
	cut := false
	for range 1024 { // 64 MiB
		if _, err := conns[0].Write(chunk); err != nil {
			cut = true
			break
		}
	}
	if !cut {
		return errors.New("64 MiB of one line were read")
	}
	if b := <-said; len(b) > 0 && !bytes.Contains(b, []byte(`"urn:inturn:problem:too-large"`)) {
		return fmt.Errorf("answered %.300q", b)
	}
	refused := strings.Repeat("{}\n", 1000)
	lines := fmt.Appendf(nil, "%x\r\n%s\r\n", len(refused), refused)
	conns[1].SetWriteDeadline(time.Now().Add(time.Duration(many(3, 1)) * time.Second))
	for range 20_000 {
		if _, err := conns[1].Write(lines); err != nil {
			return nil
		}
	}
	return errors.New("60 MB of lines were read whose answers nobody read")
}
