package proofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a connection whose frames are made by hand. Writes are gathered until flush.
type h2 struct {
	conn net.Conn
	out  bytes.Buffer
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
}

// newH2 sends the preface on a connection that has agreed on h2.
func newH2(c net.Conn, settings ...http2.Setting) (*h2, error) {
	h := &h2{conn: c}
	h.Framer = http2.NewFramer(&h.out, c)
	h.AllowIllegalWrites = true
	h.enc = hpack.NewEncoder(&h.block)
	h.out.WriteString(http2.ClientPreface)
	h.WriteSettings(settings...)
	return h, h.flush()
}

func (h *h2) flush() error {
	_, err := h.conn.Write(h.out.Bytes())
	h.out.Reset()
	return err
}

// headers encodes the fields of a request, and more of them in pairs.
func (h *h2) headers(method, path string, more ...string) []byte {
	h.block.Reset()
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}} {
		h.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i+1 < len(more); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return h.block.Bytes()
}

func (h *h2) open(id uint32, method, path string, end bool, more ...string) {
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.headers(method, path, more...), EndStream: end, EndHeaders: true})
}

// heard counts what a server says until it closes the connection.
type heard struct {
	resets, headers, acks atomic.Int64
	goAway                atomic.Bool
	end                   chan error // how reading ended
}

// listen reads all frames. It acknowledges no settings: the caller does that by h.
func (h *h2) listen() *heard {
	said := &heard{end: make(chan error, 1)}
	go func() {
		for {
			f, err := h.ReadFrame()
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				said.resets.Add(1)
			case *http2.HeadersFrame:
				said.headers.Add(1)
			case *http2.GoAwayFrame:
				said.goAway.Store(true)
			case *http2.PingFrame:
				if f.IsAck() {
					said.acks.Add(1)
				}
			}
			if err != nil {
				said.end <- err
				return
			}
		}
	}()
	return said
}

// settled sends a ping and waits until it is answered, which shows that all before it
// was read, or until the connection has ended, which is as clear.
func (h *h2) settled(said *heard) error {
	before := said.acks.Load()
	h.WritePing(false, [8]byte{1})
	if h.flush() != nil {
		before = -1 // it is ending: only the end can come
	}
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		select {
		case err := <-said.end:
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				return errors.New("neither an answer nor the end of the connection")
			}
			return nil
		default:
		}
		if before >= 0 && said.acks.Load() > before {
			return nil
		}
		if time.Now().After(limit) {
			return errors.New("neither an answer nor the end of the connection")
		}
	}
}

func (a *assault) h2(settings ...http2.Setting) (*h2, error) {
	c, err := a.connect("h2")
	if err != nil {
		return nil, err
	}
	return newH2(c, settings...)
}

// manyStreams opens far more streams than may be open and ends none of them.
func manyStreams(a *assault) error {
	h, err := a.h2()
	if err != nil {
		return err
	}
	said := h.listen()
	const n, may = 10_000, 250
	for i := range uint32(n) {
		h.open(2*i+1, "POST", "/v1/events", false, "content-type", "application/json")
		if h.out.Len() > 32<<10 && h.flush() != nil {
			break
		}
	}
	if err := h.settled(said); err != nil {
		return err
	}
	if refused := said.resets.Load() + said.headers.Load(); !said.goAway.Load() && refused < n-may {
		return fmt.Errorf("%d of %d streams were refused", refused, n)
	}
	return a.meanwhile(20)
}

// rapidReset opens streams and takes each back at once (CVE-2023-44487).
func rapidReset(a *assault) error {
	for range 4 {
		h, err := a.h2()
		if err != nil {
			return err
		}
		said := h.listen()
		for i := range uint32(many(50_000, 5_000)) {
			h.open(2*i+1, "POST", "/v1/events", true, "content-type", "application/json")
			h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
			if h.out.Len() > 32<<10 && h.flush() != nil {
				break
			}
		}
		if err := h.settled(said); err != nil {
			return err
		}
	}
	return nil
}

// endlessHeaders sends CONTINUATION frames for ever (CVE-2023-45288), and then a
// header list that is too long, which has an answer.
func endlessHeaders(a *assault) error {
	h, err := a.h2()
	if err != nil {
		return err
	}
	said := h.listen()
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.headers("GET", "/v1/openapi.yaml")})
	block := bytes.Clone(h.headers("GET", "/", "x-long", strings.Repeat("x", 15<<10)))
	cut := false
	for range 4096 { // about 40 MiB
		h.WriteContinuation(1, false, block)
		if h.flush() != nil {
			cut = true
			break
		}
	}
	if !cut && !said.goAway.Load() {
		return errors.New("40 MiB of headers were read")
	}
	if h, err = a.h2(); err != nil {
		return err
	}
	said = h.listen()
	block = bytes.Clone(h.headers("GET", "/v1/openapi.yaml", "x-long", strings.Repeat("!", 64<<10)))
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10], EndStream: true})
	for at := 10; at < len(block); at += 16 << 10 {
		end := min(at+16<<10, len(block))
		h.WriteContinuation(1, end == len(block), block[at:end])
	}
	if err := h.flush(); err != nil {
		return err
	}
	if err := h.settled(said); err != nil {
		return err
	}
	if said.headers.Load() == 0 && !said.goAway.Load() {
		return errors.New("a long header list was not answered")
	}
	return nil
}

// frameFlood sends frames that the server must answer or keep count of, and reads
// nothing while it does.
func frameFlood(kind string) func(*assault) error {
	return func(a *assault) error {
		h, err := a.h2()
		if err != nil {
			return err
		}
		for i := range uint32(many(1_000_000, 50_000)) {
			switch kind {
			case "ping":
				h.WritePing(false, [8]byte{byte(i)})
			case "settings":
				h.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1<<14 + i%2})
			case "priority":
				h.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 3, Weight: byte(i)})
			}
			if h.out.Len() > 64<<10 && h.flush() != nil {
				return nil
			}
		}
		return h.settled(h.listen())
	}
}

// closedWindow asks for many answers and lets none of them come.
func closedWindow(a *assault) error {
	for range 4 {
		h, err := a.h2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			return err
		}
		for i := range uint32(250) {
			h.open(2*i+1, "GET", "/v1/openapi.yaml", true)
		}
		// A window must not grow past 2^31-1 (RFC 9113, section 6.9.1).
		h.WriteWindowUpdate(1, 1<<31-1)
		h.WriteWindowUpdate(1, 1<<31-1)
		if err := h.flush(); err != nil {
			return err
		}
		if err := h.settled(h.listen()); err != nil {
			return err
		}
	}
	return a.meanwhile(20)
}

// fillBodies sends n unfinished bodies of size bytes to an address that asks for no
// token, as fast as the server lets them in.
func (h *h2) fillBodies(n int, size int, filler []byte) error {
	var window [1024]atomic.Int64 // of each stream, by its number; 0 is the connection's
	window[0].Store(65535)
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		for {
			f, err := h.ReadFrame()
			if err != nil {
				ended <- err
				return
			}
			switch f := f.(type) {
			case *http2.WindowUpdateFrame:
				window[(f.StreamID+1)/2].Add(int64(f.Increment))
			case *http2.SettingsFrame:
				if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
					for i := range window[1:] {
						window[i+1].Add(int64(v))
					}
				}
			case *http2.RSTStreamFrame:
				window[(f.StreamID+1)/2].Store(-1 << 40) // refused
			case *http2.HeadersFrame:
				window[(f.StreamID+1)/2].Store(-1 << 40) // answered
			default:
				continue
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	for i := range uint32(n) {
		h.open(2*i+1, "POST", "/v1/hooks/cut/work", false, "webhook-id", "1", "webhook-timestamp", "1", "webhook-signature", "v1,AAAA")
	}
	if err := h.flush(); err != nil {
		return err
	}
	left := make([]int, n)
	for i := range left {
		left[i] = size
	}
	for {
		open, wrote := 0, 0
		for i := range left {
			w := window[i+1].Load()
			if left[i] == 0 || w < -1<<30 {
				continue
			}
			open++
			k := min(left[i], len(filler), int(max(0, w)), int(max(0, window[0].Load())))
			if k == 0 {
				continue
			}
			h.WriteData(uint32(2*i+1), false, filler[:k])
			window[0].Add(-int64(k))
			window[i+1].Add(-int64(k))
			left[i] -= k
			wrote += k
			if err := h.flush(); err != nil {
				return err
			}
		}
		if open == 0 {
			return nil
		}
		if wrote > 0 {
			continue
		}
		select {
		case <-changed:
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
