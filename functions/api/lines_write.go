package api

import (
	"errors"
	"net/http"
	"strconv"
)

// lineWriter answers lines. What it is given goes through a spool, so that answering never
// waits for the client to read while it still sends.
//
// The header goes out with the first answers: a client that asked whether to continue
// (Expect) is answered by reading. With HTTP/1 the connection ends with a body that was not
// read to its end when they go out: it may break off, and what follows would be taken for
// the next request.
type lineWriter struct {
	x           *exchange
	rc          *http.ResponseController
	body        *linesBody
	spool       *spool
	refusedOnly bool   // ?answers=refused
	gone        func() // called when the client is gone
	buf         []byte
	n, kept     int           // lines that were answered, and lines whose answers are in spool
	written     chan struct{} // closed when send has ended
}

var linesType = []string{typeLines}

func newLineWriter(x *exchange, r *http.Request, rc *http.ResponseController, body *linesBody, s *spool, gone func()) *lineWriter {
	w := &lineWriter{x: x, rc: rc, body: body, spool: s, gone: gone, written: make(chan struct{})}
	go func() {
		defer close(w.written)
		w.send(r.ProtoMajor == 1)
	}()
	return w
}

// line answers the next line.
func (w *lineWriter) line(a *answer) error {
	w.n++
	if w.refusedOnly && a.problem == nil {
		return nil
	}
	w.buf = append(appendAnswer(w.buf, w.n, a), '\n')
	if len(w.buf) < maxAnswers {
		return nil
	}
	return w.flush()
}

// flush lets go of what was answered.
func (w *lineWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.spool.put(w.buf)
	if w.buf = w.buf[:0]; cap(w.buf) > 2*maxAnswers {
		w.buf = nil // a large result's buffer is not kept
	}
	if err == nil {
		w.kept = w.n
	}
	return err
}

// end writes the last line, if there is one, waits until the client has taken all answers,
// or is gone, and gives their room back. p is why further lines are not answered, or nil.
func (w *lineWriter) end(p *problem) {
	if p != nil { // the answers that had no room are not given
		w.n = w.kept + 1
		w.x.problem = p
		w.x.tally.refused++
		w.buf = append(appendAnswer(w.buf, w.n, &answer{problem: p}), '\n')
	}
	if w.refusedOnly {
		w.buf = append(w.summary(w.buf), '\n')
	}
	w.spool.putLast(w.buf)
	w.spool.end()
	<-w.written
	w.spool.close()
}

// summary appends what ?answers=refused ends with.
func (w *lineWriter) summary(b []byte) []byte {
	b = append(b, `{"summary":true,"lines":`...)
	b = strconv.AppendInt(b, int64(w.n), 10)
	b = append(b, `,"accepted":`...)
	b = strconv.AppendInt(b, int64(w.x.tally.accepted), 10)
	b = append(b, `,"duplicates":`...)
	b = strconv.AppendInt(b, int64(w.x.tally.duplicates), 10)
	b = append(b, `,"refused":`...)
	b = strconv.AppendInt(b, int64(w.x.tally.refused), 10)
	return append(b, '}')
}

// send writes what is in the spool to the client until that ends. It answers also where
// there was no line.
func (w *lineWriter) send(http1 bool) {
	chunk := make([]byte, maxAnswers)
	for {
		n, more, err := w.spool.take(chunk)
		w.begin(http1)
		if err != nil {
			return
		}
		_, err = w.x.Write(chunk[:n])
		if err == nil && !more {
			if err = w.rc.Flush(); errors.Is(err, http.ErrNotSupported) {
				err = nil
			}
		}
		if err != nil { // the client is gone; it resends
			w.spool.stop()
			w.gone()
			return
		}
		w.body.wrote()
	}
}

func (w *lineWriter) begin(http1 bool) {
	if w.x.status != 0 {
		return
	}
	h := w.x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = linesType, noStore, noSniff
	if http1 && !w.body.whole() {
		h.Set("Connection", "close")
	}
	w.x.WriteHeader(http.StatusOK)
}
