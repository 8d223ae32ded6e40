package proofs

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	crashRounds = flag.Int("rounds", 0, "rounds of TestCrash; 0: 20 in the long form, else fewer")
	crashSeed   = flag.Uint64("seed", 0, "of TestCrash's random moments; 0: another one each time")
)

// What must be going on at each kill.
const (
	minUnanswered = 64
	minRunning    = 100
)

// TestCrash kills the server again and again while senders send, restarts it, and
// judges after each kill what is in the file by what was answered.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := *crashRounds
	if rounds == 0 {
		if rounds = 1; thorough() {
			rounds = 20
		}
	}
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d rounds, -seed %d", rounds, seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	c := &crash{t: t, dir: dir, rnd: rnd}
	c.server, c.startTime = start(t, dir), 100*time.Millisecond
	c.server.ready()
	c.fleet = newFleet(t, seed, dial(t, dir), 128, 128)

	least := 1
	if rounds >= 20 {
		least = 3
	}
	// A few rounds more where a phase was hit too seldom, or a kill came just after a
	// group's answers, with few appends under way.
	for round := 0; round < 2*rounds+4 && (c.loaded < rounds || len(c.missing(least)) > 0); round++ {
		c.round(round)
		if t.Failed() {
			return
		}
	}

	// The file of a server that ends in order, with nothing left to do.
	stop := c.fleet.run(c.server.ready(), false)
	eventually(t, "the repeats", func() bool { return c.fleet.repeats.Load() == int64(len(c.fleet.senders)) })
	stop()
	c.hurry()
	drained(t, dir)
	c.server.stops()
	end := c.fleet.judge(t, dbFile(dir), true)
	t.Logf("%d events, %d kills; of them in append %d, settle %d, checkpoint %d, recovery %d", len(end.events), c.kills,
		c.appends, c.settles, c.checkpoints, c.recoveries)

	if c.loaded < rounds {
		t.Errorf("only %d of %d kills came while %d appends were unanswered", c.loaded, c.kills, minUnanswered)
	}
	for _, phase := range c.missing(least) {
		t.Errorf("%s was hit less than %d times: this run proves less than it should", phase, least)
	}
}

type crash struct {
	t         *testing.T
	dir       string
	rnd       *rand.Rand
	fleet     *fleet
	server    *process
	startTime time.Duration // from exec to ready, the last time

	loaded                                           int // rounds whose kill came while enough was unanswered
	kills, appends, settles, checkpoints, recoveries int
}

// missing names the phases that were hit less often than that.
func (c *crash) missing(least int) (phases []string) {
	for phase, hits := range map[string]int{"append": c.appends, "settle": c.settles, "checkpoint": c.checkpoints, "recovery": c.recoveries} {
		if hits < least {
			phases = append(phases, phase)
		}
	}
	return phases
}

// round lets the senders send, kills the server, judges, and starts it again; each
// second kill falls into a checkpoint, and after it the start is killed as well.
func (c *crash) round(n int) {
	t, inCheckpoint := c.t, n%2 == 1
	stop := c.fleet.run(c.server.ready(), true)
	eventually(t, "the repeats", func() bool { return n == 0 || c.fleet.repeats.Load() == int64(len(c.fleet.senders)) })
	time.Sleep(time.Duration(c.rnd.IntN(500)) * time.Millisecond)
	eventually(t, "the load", func() bool {
		return c.fleet.client.out.Load() >= 2*minUnanswered && c.fleet.working() >= minRunning*3/2
	})
	if inCheckpoint {
		eventually(t, "a checkpoint", func() bool { return waitCheckpoint(t, c.dir, time.Second) })
	}
	c.server.crash()
	stop()
	c.kills++
	if inCheckpointNow(t, c.dir) {
		c.checkpoints++
	}
	file := c.fleet.judge(t, snapshot(t, c.dir), false)
	c.count(file)
	if inCheckpoint {
		c.killStart(file.epoch)
	}
	c.restart()
}

// count finds out what the kill cut short.
func (c *crash) count(file contents) {
	lost, unsaid, unsettled, running := 0, 0, 0, 0
	for _, s := range c.fleet.senders {
		head := "" // the account whose head was seen
		for _, ev := range s.sent {
			f, there := file.events[key(ev.client, ev.id)]
			switch {
			case !there:
				lost++
			case ev.seq == 0:
				unsaid++
			case f.held || f.status != "":
			case ev.typ == "message":
				unsettled++
			case ev.client != head:
				head = ev.client
				if ev.long() {
					running++
				}
			}
		}
	}
	c.t.Logf("killed with %d appends unanswered, of them %d not committed and %d committed; %d functions running, %d messages not settled; the load: %v",
		c.fleet.unanswered.Load(), lost, unsaid, running, unsettled, c.fleet)
	if lost > 0 {
		c.appends++
	}
	if unsettled > 0 {
		c.settles++
	}
	if c.fleet.unanswered.Load() >= minUnanswered {
		c.loaded++
	}
	if running < minRunning {
		c.t.Errorf("only %d functions were running at the kill", running)
	}
}

// killStart kills starts at random moments until one had taken the file over and
// was not ready yet. Each of them must leave a sound file.
func (c *crash) killStart(epoch int64) {
	for range 40 {
		p := start(c.t, c.dir)
		time.Sleep(time.Duration((0.3 + 0.7*c.rnd.Float64()) * float64(c.startTime)))
		p.crash()
		c.kills++
		file := c.fleet.judge(c.t, snapshot(c.t, c.dir), false)
		if !p.said("ready") && file.epoch > epoch {
			c.recoveries++
			return
		}
		epoch = file.epoch
	}
	c.t.Log("no kill has hit a recovery")
}

func (c *crash) restart() {
	began := time.Now()
	c.server = start(c.t, c.dir)
	c.server.ready()
	c.startTime = time.Since(began)
}

// hurry retries what waits because it was killed again and again: the last waits are
// up to minutes.
func (c *crash) hurry() {
	var page struct {
		Accounts []struct {
			ClientID string `json:"client_id"`
			HeadSeq  int64  `json:"head_seq"`
		}
		Next string
	}
	for more := true; more; more = page.Next != "" {
		q := url.Values{"state": {"retrying"}, "limit": {"1000"}, "after": {page.Next}}
		if page.Next == "" {
			q.Del("after")
		}
		resp, err := c.fleet.client.http.Get(c.server.ready() + "/v1/accounts?" + q.Encode())
		if err != nil {
			c.t.Fatal(err)
		}
		page.Accounts, page.Next = nil, ""
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			c.t.Fatalf("the retrying accounts: %v, status %d", err, resp.StatusCode)
		}
		for _, a := range page.Accounts {
			body := fmt.Sprintf(`{"seq":%d,"reason":"it was killed often enough"}`, a.HeadSeq)
			resp, err := c.fleet.client.http.Post(c.server.ready()+"/v1/accounts/"+a.ClientID+"/retry", "application/json", strings.NewReader(body))
			if err != nil {
				c.t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict { // it may have gone on
				c.t.Errorf("retry of %s: status %d", a.ClientID, resp.StatusCode)
			}
		}
		c.t.Logf("%d accounts are retried", len(page.Accounts))
	}
}

// shared reads two numbers of a WAL-index: how far a checkpoint that began wants to
// come, and how far one came, in frames.
// https://www.sqlite.org/walformat.html#the_wal_index_file_format
func shared(t testing.TB, shm *os.File) (attempted, backfilled uint32) {
	t.Helper()
	var b [36]byte
	if _, err := shm.ReadAt(b[:], 96); err != nil {
		t.Fatalf("read the shared memory: %v", err)
	}
	return binary.NativeEndian.Uint32(b[32:]), binary.NativeEndian.Uint32(b[:])
}

// waitCheckpoint returns true while the server copies from the WAL into the file.
func waitCheckpoint(t testing.TB, dir string, patience time.Duration) bool {
	t.Helper()
	shm, err := os.Open(dbFile(dir) + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		if attempted, backfilled := shared(t, shm); attempted > backfilled {
			return true
		}
	}
	return false
}

// inCheckpointNow reports whether the process that was killed was inside one.
func inCheckpointNow(t testing.TB, dir string) bool {
	t.Helper()
	shm, err := os.Open(dbFile(dir) + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	attempted, backfilled := shared(t, shm)
	return attempted > backfilled
}
