package proofs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// stream opens a WebSocket by hand.
func (a *assault) stream() (net.Conn, *bufio.Reader, error) {
	c, err := a.connect("http/1.1")
	if err != nil {
		return nil, nil, err
	}
	_, err = io.WriteString(c, "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("stream: %s", resp.Status)
	}
	return c, r, err
}

// Opcodes and bits of a frame's first byte (RFC 6455, section 5.2).
const (
	fin        = 0x80
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	maskedBit  = 0x80
	lengthOf8  = 127
	lengthOf2  = 126
	mostLength = 125
)

// frame is a masked frame that says it has length bytes, and body, which may be fewer.
func frame(first byte, length uint64, body string) []byte {
	b := []byte{first}
	switch {
	case length <= mostLength:
		b = append(b, maskedBit|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, maskedBit|lengthOf2), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskedBit|lengthOf8), length)
	}
	return append(append(b, 0, 0, 0, 0), body...) // a mask of zeros changes nothing
}

// closed reads frames until one says that the stream is closed and returns its code, 0
// where the connection ends without one.
func closed(r *bufio.Reader) (int, error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				return 0, err
			}
			return 0, nil
		}
		length := uint64(head[1])
		switch length {
		case lengthOf2:
			var n [2]byte
			io.ReadFull(r, n[:])
			length = uint64(binary.BigEndian.Uint16(n[:]))
		case lengthOf8:
			var n [8]byte
			io.ReadFull(r, n[:])
			length = binary.BigEndian.Uint64(n[:])
		}
		body, _ := io.ReadAll(io.LimitReader(r, int64(length)))
		if head[0]&0xf == opClose && len(body) >= 2 {
			return int(binary.BigEndian.Uint16(body)), nil
		}
	}
}

var halves = [][]byte{
	{fin | opText},
	{fin | opText, maskedBit | lengthOf8, 0, 0},
	frame(fin|opText, 1000, `{"client_id":"cut","payload":"`+canary),
	frame(fin|opText, 1<<20, `{"client_id":"cut","payload":"`+canary),
	frame(fin|opText, 1<<62, `{"client_id":"cut","payload":"`+canary),
	frame(opText, 10, `{"client_i`), // the first of a message that does not go on
	frame(fin|opPing, 100, "x"),
}

// halfFrames opens streams that stop in the middle of a frame.
func halfFrames(a *assault) error {
	for i := range many(300, 70) {
		c, _, err := a.stream()
		if err != nil {
			return err
		}
		if _, err := c.Write(halves[i%len(halves)]); err != nil {
			return err
		}
	}
	return a.meanwhile(40)
}

func halfFramesAreCut(a *assault) error {
	var readers []*bufio.Reader
	for i := range 50 {
		c, r, err := a.stream()
		if err != nil {
			return err
		}
		if _, err := c.Write(halves[i%len(halves)]); err != nil {
			return err
		}
		readers = append(readers, r)
	}
	for i, r := range readers {
		if _, err := closed(r); err != nil {
			return fmt.Errorf("%x… was not cut off: %w", halves[i%len(halves)][:1], err)
		}
	}
	return nil
}

// wrongFrames sends what must not be sent. Each ends the stream, with the code of RFC
// 6455, section 7.4.1, or, where
// the code here is 0, without one.
func wrongFrames(a *assault) error {
	long := strings.Repeat("x", 1<<20+1)
	text := `{"client_id":"cut","message_id":"1","payload":"` + canary + `"}`
	for _, c := range []struct {
		name string
		sent []byte
		code int
	}{
		{"not masked", append([]byte{fin | opText, byte(len(text))}, text...), 0},
		{"reserved bits", frame(fin|0x70|opText, uint64(len(text)), text), 1002},
		{"reserved opcode", frame(fin|0x3, uint64(len(text)), text), 1002},
		{"continuation of nothing", frame(fin, uint64(len(text)), text), 1002},
		{"text within a text", slices.Concat(frame(opText, 1, "{"), frame(fin|opText, 1, "}")), 1002},
		{"long ping", frame(fin|opPing, 126, strings.Repeat("x", 126)), 1002},
		{"ping in parts", frame(opPing, 1, "x"), 1002},
		{"close of one byte", frame(fin|opClose, 1, "x"), 1002},
		{"negative length", frame(fin|opText, 1<<63, text), 0},
		{"binary", frame(fin|opBinary, uint64(len(text)), text), 1003},
		{"invalid UTF-8", frame(fin|opText, 2, "\xff\xfe"), 1007},
		{"too long", frame(fin|opText, uint64(len(long)), long), 1009},
		{"longer than it can ever be", frame(fin|opText, 1<<62, long+long), 1009},
		{"too long in parts", slices.Concat(frame(opText, 1<<19, long[:1<<19]), frame(0, 1<<19, long[:1<<19]), frame(0, 1<<19, long[:1<<19])), 1009},
		{"parts without end", slices.Concat(frame(opText, 1, "{"), bytes.Repeat(frame(0, 1, " "), 1<<20+1)), 1009},
		{"pings without end", slices.Concat(bytes.Repeat(frame(fin|opPing, 1, "p"), 20_000), frame(fin|opClose, 2, "\x03\xe8")), 1000},
		{"empty frames without end", slices.Concat(bytes.Repeat(frame(fin|opText, 0, ""), 20_000), frame(fin|opClose, 2, "\x03\xe8")), 1000},
	} {
		conn, r, err := a.stream()
		if err != nil {
			return err
		}
		go conn.Write(c.sent) // may be cut short
		code, err := closed(r)
		// Where not all was read the reset may overtake the code.
		if err != nil || code != c.code && (code != 0 || len(c.sent) < 64<<10) {
			return fmt.Errorf("%s: closed with %d, want %d (%w)", c.name, code, c.code, err)
		}
	}
	return nil
}
