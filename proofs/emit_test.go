package proofs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"inturn/db/sqlite/file"
)

// shop is an endpoint of two types: an order is answered with two events that ship it,
// one in its account and one in the warehouse's, and what ships is done.
type shop struct {
	open          sync.RWMutex // locked while it doesn't answer orders
	orders, ships atomic.Int64
	killAt        int64 // so many orders, the process is killed
	kill          func()
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var ev struct{ PartitionKey, ID, Type string }
	if err != nil || json.Unmarshal(body, &ev) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if ev.Type == "ship" {
		s.ships.Add(1)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.open.RLock()
	defer s.open.RUnlock()
	if s.orders.Add(1) == s.killAt {
		s.kill()
	}
	w.Header().Set("Content-Type", "application/cloudevents-batch+json")
	fmt.Fprintf(w, `[{"specversion":"1.0","id":"ship-%[2]s","source":"/shop","type":"ship","data":{"order":%[2]q}},`+
		`{"specversion":"1.0","id":"%[1]s-%[2]s","source":"/shop","type":"ship","partitionkey":"warehouse","data":{"order":%[2]q}}]`, ev.PartitionKey, ev.ID)
}

// What endpoints answer to emit is there once, if and only if the event is done that they
// answered, whenever the process is killed.
func TestEndpointsEmitOnce(t *testing.T) {
	t.Parallel()
	const accounts, orders, rounds = 20, 16, 4
	var s shop
	endpoint := httptest.NewServer(&s)
	defer endpoint.Close()
	dir := t.TempDir()
	serve := func() *process {
		return start(t, dir, "--function", "order="+endpoint.URL+"/order", "--function", "ship="+endpoint.URL+"/ship", "--function-max-concurrent", "8")
	}
	p := serve()
	url, c := p.ready(), dial(t, dir)
	if a, err := c.post(context.Background(), url, event{client: "warehouse", id: "open", typ: "ship", payload: "{}"}); err != nil || !a.taken() {
		t.Fatalf("%+v, %v", a, err)
	}
	for n := range orders {
		if n%rounds == 0 {
			s.open.Lock() // so that there is something to do when the process is killed
		}
		for i := range accounts {
			ev := event{client: fmt.Sprint("c", i), id: fmt.Sprint("o", n), typ: "order", payload: "{}"}
			if a, err := c.post(context.Background(), url, ev); err != nil || !a.taken() {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		if n%rounds == rounds-1 {
			s.killAt, s.kill = s.orders.Load()+rounds*accounts/2, p.kill
			s.open.Unlock()
			<-p.gone
			if done, _ := judgeEmitted(t, dir); done == (n+1)*accounts {
				t.Errorf("after order %d the process was killed when all was done", n)
			}
			p = serve()
			url, c = p.ready(), dial(t, dir)
		}
	}
	drained(t, dir)
	p.stops()
	if out, err := inturn(t, "check", "--db", dbFile(dir)); err != nil {
		t.Errorf("inturn check: %v\n%s", err, out)
	}
	if done, shipped := judgeEmitted(t, dir); done != accounts*orders || shipped != 2*accounts*orders {
		t.Errorf("%d orders are done and %d ships, want %d and %d", done, shipped, accounts*orders, 2*accounts*orders)
	}
	t.Logf("the endpoint was asked for %d orders and %d ships", s.orders.Load(), s.ships.Load())
}

// judgeEmitted compares what is emitted in the file with the orders that are done there,
// and returns how many of both are done.
func judgeEmitted(t *testing.T, dir string) (orders, ships int) {
	t.Helper()
	opened, err := file.OpenReadOnly(t.Context(), dbFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	emitted, done := map[string]int64{}, map[string]bool{}
	each(t, opened, `SELECT o.client_id, o.message_id, o.seq, r.seq IS NOT NULL FROM outbox o LEFT JOIN results r USING (seq) WHERE o.type = 'ship' AND o.message_id <> 'open'`, func(scan func(...any) error) error {
		var client, id string
		var seq int64
		var ended bool
		err := scan(&client, &id, &seq, &ended)
		emitted[client+" "+id] = seq
		if ended {
			ships++
		}
		return err
	})
	each(t, opened, `SELECT o.client_id, o.message_id, r.output FROM outbox o JOIN results r USING (seq) WHERE o.type = 'order' AND r.status = 'done'`, func(scan func(...any) error) error {
		var client, id, output string
		if err := scan(&client, &id, &output); err != nil {
			return err
		}
		orders++
		own, theirs := client+" ship-"+id, "warehouse "+client+"-"+id
		want := fmt.Sprintf(`[{"client_id":%q,"message_id":"ship-%s","seq":%d,"state":"pending","duplicate":false},{"client_id":"warehouse","message_id":"%s-%s","seq":%d,"state":"pending","duplicate":false}]`,
			client, id, emitted[own], client, id, emitted[theirs])
		if output != want {
			t.Errorf("order %s of %s has the result %s, want %s", id, client, output, want)
		}
		done[own], done[theirs] = true, true
		return nil
	})
	for ship := range emitted {
		if !done[ship] {
			t.Errorf("%s is there, and its order isn't done", ship)
		}
	}
	return orders, ships
}
