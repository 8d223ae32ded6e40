package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
)

// loadReport is the result of a load test. Times are in milliseconds.
type loadReport struct {
	Offered    int `json:"offered"`
	Answered   int `json:"answered"`
	Accepted   int `json:"accepted"`   // new messages that were taken
	Duplicates int `json:"duplicates"` // repeats that were answered as such
	Invalid    int `json:"invalid"`    // refused as they must be
	Overload   int `json:"refused_overload"`
	Unexpected int `json:"unexpected"` // other answers
	Unanswered int `json:"unanswered"`

	Rate   float64   `json:"answers_per_second"` // 2xx, from the first request to the last answer
	Accept quantiles `json:"accept_ms"`          // of 2xx, from when the request was due
	Refuse quantiles `json:"refuse_ms"`          // of refusals for overload
	Lag    quantiles `json:"done_ms"`            // from received_at to finished_at
	Late   float64   `json:"tester_late_ms"`     // the most by which the tester was late to send

	Processed  int `json:"processed"`
	Clients    int `json:"clients"` // found or created, one a (client_id, phone)
	Violations int `json:"violations"`
}

func (l LoadTest) report(p *plan, lt *loadRun, v *verifier) *loadReport {
	r := &loadReport{
		Offered: len(p.shots), Late: float64(lt.late.Microseconds()) / 1000,
		Lag: newQuantiles(v.lags), Processed: len(v.lags), Clients: len(v.pairs), Violations: v.violations,
	}
	var accept, refuse []uint32
	last := int64(1)
	for i, a := range lt.answers {
		ok := a.status == http.StatusOK || a.status == http.StatusAccepted
		invalid := p.shots[i].kind == shotInvalid
		switch {
		case a.status == 0:
			r.Unanswered++
			continue
		case ok && invalid:
			r.Unexpected++
		case ok:
			if a.repeat {
				r.Duplicates++
			} else {
				r.Accepted++
			}
			accept = append(accept, a.micros)
			last = max(last, lt.due(i).Microseconds()+int64(a.micros))
		case a.status == http.StatusBadRequest && invalid:
			r.Invalid++
		case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable:
			r.Overload++
			refuse = append(refuse, a.micros)
		default:
			r.Unexpected++
		}
		r.Answered++
	}
	r.Rate = float64(len(accept)) / (float64(last) / 1e6)
	r.Accept, r.Refuse = newQuantiles(accept), newQuantiles(refuse)
	return r
}

func (r *loadReport) print(out io.Writer, l LoadTest) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	times := func(name string, q quantiles, note string) {
		line(name, "p50 %.1f\tp95 %.1f\tp99 %.1f\tmax %.1f ms\t%s", q.P50, q.P95, q.P99, q.Max, note)
	}
	line("offered", "%d\t%d/s for %v, %d clients", r.Offered, l.Rate, l.Duration, l.Clients)
	line("answered", "%d", r.Answered)
	line("accepted", "%d", r.Accepted)
	line("duplicates", "%d\tanswered with the first one's receipt", r.Duplicates)
	line("invalid", "%d\trefused as they must be", r.Invalid)
	line("overload", "%d\trefused with 429 or 503", r.Overload)
	line("unexpected", "%d\tother answers", r.Unexpected)
	line("unanswered", "%d", r.Unanswered)
	line("processed", "%d\tof %d clients", r.Processed, r.Clients)
	line("violations", "%d\tlost, twice, out of turn, or of a wrong client or dialog", r.Violations)
	line("rate", "%.0f/s\taccepted and duplicates", r.Rate)
	if err := w.Flush(); err != nil {
		return err
	}
	w = tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	times("accept", r.Accept, "from when a request was due")
	if r.Overload > 0 {
		times("refuse", r.Refuse, "for overload, from when it was due")
	}
	times("done", r.Lag, "from accepted to processed")
	line("tester", "%.1f ms\tthe most it was late itself", r.Late)
	return w.Flush()
}

// err returns an error that lists what is wrong, with a few examples.
func (r *loadReport) err(examples []string) error {
	var wrong []string
	for _, c := range []struct {
		n    int
		what string
	}{{r.Violations, "violations"}, {r.Unexpected, "unexpected answers"}, {r.Unanswered, "requests without an answer"}} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	text := strings.Join(wrong, ", ")
	if len(examples) > 0 {
		text += ": " + strings.Join(examples, "; ")
	}
	return fmt.Errorf("loadtest: %w", errors.New(text))
}
