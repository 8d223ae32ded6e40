package cli

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
)

// shotKind is what a request of the load test is.
type shotKind uint8

const (
	shotValid     shotKind = iota // a new message
	shotDuplicate                 // one that was sent before
	shotInvalid                   // one that must be refused
)

// shot is one planned request.
type shot struct {
	client int32
	conn   int32
	of     int32 // the shot that was first to carry its message; its own index for that one
	n      int32 // the client's counter of its messages, from 1
	kind   shotKind
	raced  bool // two connections send this message at once: which is first is not known
}

// plan is all requests in the order in which they are due, evenly in time.
//
// All requests of a client go over one connection, which answers in order, so the
// order in which they are accepted is that of the plan. Only the duplicates that are
// sent at once are raced over another one.
type plan struct {
	run    string // in each message_id, so that no two tests share one
	shots  []shot
	counts []int32   // messages of each client
	first  [][]int32 // the shot of each client's n-th message, at n-1
}

// phonesEach is how many phones a client writes from. Two clients share the same
// phones: a phone is another client under each.
const phonesEach = 3

func newPlan(l LoadTest, run string) *plan {
	r := rand.New(rand.NewPCG(l.Seed, 0))
	p := &plan{run: run, shots: make([]shot, l.shots()), counts: make([]int32, l.Clients), first: make([][]int32, l.Clients)}
	clients := newWeights(r, l.Clients)
	conns := min(l.Connections, l.Clients)
	last := -1 // valid shot
	for i := range p.shots {
		c := clients.draw(r)
		s := shot{client: int32(c), conn: int32(c % conns), of: int32(i)}
		switch k := r.IntN(l.Valid + l.Duplicates + l.Invalid); {
		case k >= l.Valid+l.Duplicates:
			s.kind = shotInvalid
		case k >= l.Valid && last >= 0:
			s.kind = shotDuplicate
			if r.IntN(2) == 0 || p.counts[c] == 0 {
				s.of = int32(last)
				s.client = p.shots[last].client
				s.conn = int32((int(s.client) + 1) % conns)
				p.shots[last].raced = conns > 1
			} else {
				s.of = p.first[c][r.IntN(int(p.counts[c]))]
			}
			s.n = p.shots[s.of].n
		default:
			last = i
			p.counts[c]++
			s.n = p.counts[c]
			p.first[c] = append(p.first[c], int32(i))
		}
		p.shots[i] = s
	}
	return p
}

// weights draws clients, each with a share between nothing and twice the mean.
type weights []float64

func newWeights(r *rand.Rand, n int) weights {
	w := make(weights, n)
	sum := 0.0
	for i := range w {
		sum += 1 - r.Float64()
		w[i] = sum
	}
	return w
}

func (w weights) draw(r *rand.Rand) int {
	return min(sort.SearchFloat64s(w, r.Float64()*w[len(w)-1]), len(w)-1)
}

// phone is the one of a client's n-th message.
func phone(client, n int32) string {
	return fmt.Sprintf("+7%010d", int64(client/2)*phonesEach+int64(n%phonesEach))
}

// appendBody appends the JSON of shot i. A message's text is its counter.
func (p *plan) appendBody(b []byte, i int32) []byte {
	s := p.shots[i]
	if s.kind == shotInvalid {
		return p.appendInvalid(b, i)
	}
	b = append(b, `{"client_id":"`...)
	b = appendClientID(b, s.client)
	b = append(b, `","message_id":"`...)
	b = append(b, p.run...)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(s.n), 10)
	b = append(b, `","payload":{"phone":"+7`...)
	b = appendPadded(b, int64(s.client/2)*phonesEach+int64(s.n%phonesEach), 10)
	b = append(b, `","text":"`...)
	b = strconv.AppendInt(b, int64(s.n), 10)
	return append(b, `"}}`...)
}

// invalid is bodies that must be answered 400; ids are put in for C and M.
var invalid = []string{
	`{"client_id":"C","message_id":"M","payload":{"phone":"+70000000001","text":"cut o`,
	`{"client_id":"C","message_id":"M","payload":{"phone":"0000000001","text":"no plus"}}`,
	`{"client_id":"C","message_id":"M","payload":{"text":"no phone"}}`,
	`{"client_id":"C","message_id":"M","payload":{"phone":"+70000000001"}}`,
	`{"client_id":"C","message_id":"M","type":"nobody","payload":{"phone":"+70000000001","text":"unknown type"}}`,
	`{"client_id":"C","message_id":"M","more":1,"payload":{"phone":"+70000000001","text":"unknown field"}}`,
	`{"client_id":"C","payload":{"phone":"+70000000001","text":"no message_id"}}`,
	`{"message_id":"M","payload":{"phone":"+70000000001","text":"no client_id"}}`,
}

func (p *plan) appendInvalid(b []byte, i int32) []byte {
	text := invalid[int(i)%len(invalid)]
	text = strings.Replace(text, "C", clientID(int(p.shots[i].client)), 1)
	text = strings.Replace(text, "M", p.run+"-invalid-"+strconv.Itoa(int(i)), 1)
	return append(b, text...)
}

// appendClientID is clientID without its allocations.
func appendClientID(b []byte, client int32) []byte {
	return appendPadded(append(b, "client"...), int64(client), 26)
}

func appendPadded(b []byte, n int64, width int) []byte {
	start := len(b)
	for range width {
		b = append(b, '0')
	}
	for i := len(b) - 1; i >= start && n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}
