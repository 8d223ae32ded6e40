package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"inturn/internal/program"
)

// frames is a connection of HTTP/2, frame by frame.
type frames struct {
	t       *testing.T
	conn    *tls.Conn
	framer  *http2.Framer
	header  bytes.Buffer
	encoder *hpack.Encoder
}

func dialFrames(t *testing.T, p *inProcess) *frames {
	t.Helper()
	config := p.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", p.Public, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(program.Patience))
	f := &frames{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	f.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.encoder = hpack.NewEncoder(&f.header)
	io.WriteString(conn, http2.ClientPreface)
	f.check(f.framer.WriteSettings())
	return f
}

func (f *frames) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// begin opens a stream.
func (f *frames) begin(stream uint32, end bool, method, path string, more ...[2]string) {
	f.t.Helper()
	f.header.Reset()
	fields := [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}}
	for _, field := range append(fields, more...) {
		f.check(f.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	f.check(f.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.header.Bytes(), EndHeaders: true, EndStream: end}))
}

// awaited reads until the server asks for the body of the stream.
func (f *frames) awaited(stream uint32) {
	f.t.Helper()
	for {
		frame, err := f.framer.ReadFrame()
		f.check(err)
		if h, ok := frame.(*http2.MetaHeadersFrame); ok && h.StreamID == stream && h.PseudoValue("status") == "100" {
			return
		}
	}
}

// answered reads until the stream has ended and returns its status. A GOAWAY before that
// fails the test.
func (f *frames) answered(stream uint32) (status int) {
	f.t.Helper()
	for {
		frame, err := f.framer.ReadFrame()
		f.check(err)
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			f.t.Fatalf("GOAWAY before stream %d is answered", stream)
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream {
				status, err = strconv.Atoi(frame.PseudoValue("status"))
				f.check(err)
			}
		}
		if h := frame.Header(); h.StreamID == stream && h.Flags.Has(http2.FlagDataEndStream) {
			return status
		}
	}
}

// While a stream of HTTP/2 is open no GOAWAY is sent, and what begins then is refused.
func TestGoAwayComesLast(t *testing.T) {
	t.Setenv("INTURN_TOKEN", "")
	p := serveHere(t, shippedFunctions(), "--db", filepath.Join(t.TempDir(), "inturn.db"))
	f := dialFrames(t, p)
	f.begin(1, false, "POST", "/v1/events", [2]string{"expect", "100-continue"})
	f.awaited(1) // its handler has begun
	p.cancel()
	stream := uint32(3)
	for limit := time.Now().Add(program.Patience); ; stream += 2 {
		f.begin(stream, true, "GET", "/v1/events")
		if f.answered(stream) == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("what begins while it ends is not refused")
		}
	}
	f.check(f.framer.WriteData(1, true, []byte(chat("a", "1", "hello"))))
	if status := f.answered(1); status != http.StatusAccepted {
		t.Errorf("the event that was begun before is answered %d", status)
	}
	for {
		frame, err := f.framer.ReadFrame()
		if err != nil {
			t.Fatalf("the connection ends without GOAWAY: %v", err)
		}
		if _, ok := frame.(*http2.GoAwayFrame); ok {
			break
		}
	}
	f.conn.Close()
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
}

// A stream that never ends does not keep the server from ending.
func TestTheDrainOfConnectionsIsBounded(t *testing.T) {
	l := newDrainListener(nil)
	c := &servedConn{listener: l}
	c.active.Store(true)
	l.open[c] = struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	l.idle(ctx)
	if ctx.Err() == nil {
		t.Error("it is taken for idle")
	}
}

// Every event that is in the file was acknowledged and the other way round, for clients
// that end with the first refusal: Go's and Java's, over HTTP/2.
func TestEveryAnswerArrivesAtTheEnd(t *testing.T) {
	t.Parallel()
	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		s := program.Serve(t, t.TempDir(), nil)
		client := s.Client(t)
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
		var acknowledged atomic.Int64
		var senders sync.WaitGroup
		for sender := range 20 {
			senders.Go(func() {
				for n := 1; ; n++ {
					resp, err := client.Post(s.URL("/v1/events"), "application/json", strings.NewReader(chat(fmt.Sprint("c", sender), fmt.Sprint(n), "x")))
					if errors.Is(err, syscall.ECONNREFUSED) {
						return // nothing was sent
					}
					if err != nil {
						t.Errorf("no answer: %v", err)
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					switch {
					case err != nil || resp.ProtoMajor != 2:
						t.Errorf("half an answer: %v, HTTP/%d", err, resp.ProtoMajor)
						return
					case resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "":
						return
					case resp.StatusCode != 202:
						t.Errorf("status %d", resp.StatusCode)
						return
					}
					acknowledged.Add(1)
				}
			})
		}
		for limit := time.Now().Add(program.Patience); acknowledged.Load() < 500 && time.Now().Before(limit); {
			time.Sleep(time.Millisecond)
		}
		s.Cmd.Process.Signal(syscall.SIGTERM)
		senders.Wait()
		if status := s.End(t); status != 0 {
			t.Errorf("it ends with status %d", status)
		}
		wantStored(t, s.Dir, acknowledged.Load())
	})
	t.Run("Java", func(t *testing.T) {
		t.Parallel()
		program.NeedTool(t, "java")
		sender, err := filepath.Abs(filepath.Join("testdata", "Sender.java"))
		if err != nil {
			t.Fatal(err)
		}
		s := program.Serve(t, t.TempDir(), nil)
		cmd := exec.CommandContext(t.Context(), "java", sender, s.URL("/v1/events"), s.CA)
		cmd.Env = program.Env()
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, s, 500)
		s.Cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("java: %v\n%s%s", err, &out, &errOut)
		}
		if status := s.End(t); status != 0 {
			t.Errorf("it ends with status %d", status)
		}
		acknowledged, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
		if err != nil || acknowledged < 500 {
			t.Fatalf("java says %q, %v", &out, err)
		}
		wantStored(t, s.Dir, acknowledged)
	})
}

// wantStored wants that many events in the file.
func wantStored(t *testing.T, dir string, events int64) {
	t.Helper()
	wantCheck(t, dir)
	if r := program.Run(t, dir, nil, "query", "--csv", "SELECT count(*) AS n FROM outbox"); strings.TrimSpace(r.Out) != fmt.Sprintf("n\n%d", events) {
		t.Errorf("%d events were acknowledged, the file has %+v", events, r)
	}
}
