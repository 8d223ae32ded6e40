package api

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// rawStream is a client that does what libraries would not: half frames, a close and
// then more reading, no reading at all.
type rawStream struct {
	net.Conn
	br *bufio.Reader
	t  testing.TB
	n  int // answers so far
}

func connectRaw(t testing.TB, addr, query string, headers ...string) *rawStream {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var head strings.Builder
	fmt.Fprintf(&head, "GET /v1/stream%s HTTP/1.1\r\nHost: %s\r\n", query, addr)
	all := upgradeHeaders(headers...)
	for i := 0; i < len(all); i += 2 {
		fmt.Fprintf(&head, "%s: %s\r\n", all[i], all[i+1])
	}
	// Together with the first frame, which must not be lost: a client may.
	first := append([]byte(head.String()+"\r\n"), frameOf(opText, small("first", "1"), true)...)
	if _, err := c.Write(first); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", r.Status)
	}
	s := &rawStream{Conn: c, br: br, t: t}
	if got := s.answers(1); got[0].Status != 202 {
		t.Fatalf("the frame of the handshake: %s", got[0].said())
	}
	return s
}

func frameOf(opcode byte, payload string, fin bool) []byte {
	if fin {
		opcode |= 0x80
	}
	b := []byte{opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...) // a mask of zeros
}

func (s *rawStream) frame(opcode byte, payload string) { s.raw(frameOf(opcode, payload, true)) }

func (s *rawStream) raw(b []byte) {
	s.t.Helper()
	if _, err := s.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// next reads a frame of the server's.
func (s *rawStream) next() (opcode byte, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.br, head[:]); err != nil {
		return 0, "", err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var l [2]byte
		_, err = io.ReadFull(s.br, l[:])
		n = uint64(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		_, err = io.ReadFull(s.br, l[:])
		n = binary.BigEndian.Uint64(l[:])
	}
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(s.br, b)
	return head[0] & 0xf, string(b), err
}

// entries reads a text frame's answers, and checks their numbers.
func (s *rawStream) entries(payload string) (got []entry) {
	s.t.Helper()
	if payload[0] == '[' {
		strict(s.t, payload, &got)
		if len(got) < 2 {
			s.t.Errorf("an array of one: %s", payload)
		}
	} else {
		got = make([]entry, 1)
		strict(s.t, payload, &got[0])
	}
	for _, e := range got {
		if s.n++; e.N != s.n {
			s.t.Fatalf("n is %d, want %d", e.N, s.n)
		}
	}
	return got
}

// answers reads n answers; there must be no others in their frames.
func (s *rawStream) answers(n int) (all []entry) {
	s.t.Helper()
	for len(all) < n {
		opcode, payload, err := s.next()
		if err != nil || opcode != opText {
			s.t.Fatalf("after %d answers: opcode %d, %q, %v", s.n, opcode, payload, err)
		}
		all = append(all, s.entries(payload)...)
	}
	if len(all) != n {
		s.t.Fatalf("%d answers, want %d", len(all), n)
	}
	return all
}

// closed reads the close that must come now.
func (s *rawStream) closed(code int) {
	s.t.Helper()
	opcode, payload, err := s.next()
	if err != nil || opcode != opClose || len(payload) < 2 || int(binary.BigEndian.Uint16([]byte(payload))) != code {
		s.t.Fatalf("opcode %d, %q, %v; want a close with %d", opcode, payload, err, code)
	}
	_, _ = s.Write(frameOf(opClose, payload[:2], true)) // the server may be gone, if this side's came first
	if rest, _ := io.ReadAll(s.br); len(rest) > 0 {
		s.t.Errorf("after the close: %q", rest)
	}
}

// heard returns when the server has read everything up to now.
func (s *rawStream) heard() {
	s.t.Helper()
	s.frame(opPing, "x")
	if opcode, payload, err := s.next(); opcode != opPong || payload != "x" || err != nil {
		s.t.Fatalf("opcode %d, %q, %v; want a pong", opcode, payload, err)
	}
}

func closeCode(code int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(code))) }
