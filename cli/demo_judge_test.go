package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const second = int64(time.Second / time.Microsecond)

// inTurn is a faultless run: 3 events of account 0, 2 of account 1, none of account
// 2, accepted at once and worked for 1 s each, 100 ms apart.
func inTurn() (rows []ran, counts []int) {
	counts = []int{3, 2, 0}
	for account, count := range counts {
		start := 1000 * second
		for n := 1; n <= count; n++ {
			rows = append(rows, ran{
				account: clientID(account), n: n, received: 1000*second - int64(account+n),
				done: true, times: 1, started: start, finished: start + second,
			})
			start += second + second/10
		}
	}
	return rows, counts
}

func TestJudgeInTurn(t *testing.T) {
	rows, counts := inTurn()
	slices.Reverse(rows) // the order of the rows means nothing
	v := judge(rows, counts, time.Second)
	want := verdict{
		Events: 5, Accounts: 3, Processed: 5, Floor: 3, Makespan: 3.200003, Ratio: 1.066668, largest: 3,
	}
	if v != want {
		t.Errorf("got %+v, want %+v", v, want)
	}
	if err := v.err(); err != nil {
		t.Error(err)
	}
}

// Each planted fault is found, counted under its name, and is an error.
func TestJudgeFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(rows []ran) []ran
		want  string // processed, order violations, duplicates, lost, foreign
		err   string
	}{
		{"overlap by a microsecond", func(r []ran) []ran {
			r[1].started = r[0].finished - 1
			return r
		}, "5 1 0 0 0", "1 out of turn"},
		{"no gap is no overlap", func(r []ran) []ran {
			r[1].started = r[0].finished
			return r
		}, "5 0 0 0 0", ""},
		{"second before first", func(r []ran) []ran {
			r[0].n, r[1].n = 2, 1
			return r
		}, "5 1 0 0 0", "1 out of turn"},
		{"all of an account at once", func(r []ran) []ran {
			for i := range 3 {
				r[i].started, r[i].finished = r[0].started, r[0].finished
			}
			return r
		}, "5 2 0 0 0", "2 out of turn"},
		{"out of turn around a gap", func(r []ran) []ran {
			r[1].done = false
			r[2].started = r[0].started
			return r
		}, "4 1 0 1 0", "1 out of turn, 1 lost"},
		{"finished before started", func(r []ran) []ran {
			r[4].finished = r[4].started - 1
			return r
		}, "5 1 0 0 0", "1 out of turn"},
		{"accounts may overlap", func(r []ran) []ran {
			r[3].started = r[0].started
			return r
		}, "5 0 0 0 0", ""},
		{"accepted twice under two ids", func(r []ran) []ran {
			twice := r[2]
			twice.started, twice.finished = twice.finished, twice.finished+second
			return append(r, twice)
		}, "5 0 1 0 0", "1 processed twice"},
		{"ran twice", func(r []ran) []ran {
			r[3].times = 3
			return r
		}, "5 0 2 0 0", "2 processed twice"},
		{"missing", func(r []ran) []ran { return r[1:] }, "4 0 0 1 0", "1 lost"},
		{"accepted and never done", func(r []ran) []ran {
			r[4] = ran{account: r[4].account, n: r[4].n, received: r[4].received}
			return r
		}, "4 0 0 1 0", "1 lost"},
		{"never sent", func(r []ran) []ran {
			for _, n := range []int{0, 4} {
				more := r[2]
				more.n, more.started, more.finished = n, r[2].started+int64(n-2)*10*second, r[2].finished+int64(n-2)*10*second
				r = append(r, more)
			}
			return r
		}, "5 0 0 0 2", "2 never sent"},
		{"unknown account", func(r []ran) []ran {
			r[0].account = "other"
			return r
		}, "4 0 0 1 1", "1 lost, 1 never sent"},
		{"nothing at all", func([]ran) []ran { return nil }, "0 0 0 5 0", "5 lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rows, counts := inTurn()
			v := judge(c.plant(rows), counts, time.Second)
			if got := fmt.Sprint(v.Processed, v.OrderViolations, v.Duplicates, v.lost, v.foreign); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			err := v.err()
			if (err == nil) != (c.err == "") || err != nil && !strings.HasSuffix(err.Error(), ": "+c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestReadRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), DemoDB)
	handle := newFile(t, path)
	for seq, payload := range []string{0: `{"ms":1,"n":7}`, 1: `{"ms":1,"n":8}`, 2: `{"ms":1}`, 3: `{"n":9}`} {
		mustExec(t, handle, `INSERT INTO outbox VALUES (?, 'a', ?, 'work', ?, ?, '', NULL)`, seq+1, fmt.Sprint("m", seq), payload, 100+seq)
	}
	mustExec(t, handle, `INSERT INTO results VALUES (1, 1, 1, 1, 'done', 1, 11, 12, NULL, NULL), (2, 2, 9, 2, 'done', 3, 13, 14, NULL, NULL), (3, 1, 3, 3, 'dead', 1, 15, 16, NULL, 'x')`)
	got, err := readRuns(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b ran) int { return int(a.received - b.received) })
	want := []ran{
		{account: "a", n: 7, received: 100, done: true, times: 1, started: 11, finished: 12},
		{account: "a", n: 8, received: 101, done: true, times: 4, started: 13, finished: 14},
		{account: "a", n: 0, received: 102, times: 1, started: 15, finished: 16},
		{account: "a", n: 9, received: 103},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
