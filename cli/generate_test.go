package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func generated(t *testing.T, g Generate) [][]string {
	t.Helper()
	out, written, _ := newIO()
	g.File = "-"
	if err := g.Run(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(written).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rows[0], []string{"client_id", "message_id", "type", "payload"}) {
		t.Fatalf("header %q", rows[0])
	}
	return rows[1:]
}

// Each (client_id, message_id) is there once, and a client's counter grows by one.
func TestGenerate(t *testing.T) {
	for _, kind := range []string{"even", "random", "zipf"} {
		for _, typ := range []string{"work", "message"} {
			t.Run(kind+"/"+typ, func(t *testing.T) {
				g := Generate{Events: 2000, Clients: 50, Type: typ, Distribution: kind, Seed: 7}
				rows := generated(t, g)
				if len(rows) != g.Events {
					t.Fatalf("%d rows", len(rows))
				}
				n := map[string]int{}
				for _, row := range rows {
					n[row[0]]++
					id, want := fmt.Sprintf("7-%d", n[row[0]]), fmt.Sprintf(`{"ms":1000,"n":%d}`, n[row[0]])
					if typ == "message" {
						id = fmt.Sprintf("7-m%d", n[row[0]])
						want = fmt.Sprintf(`{"phone":"+7%010d","text":"message %d"}`, number(t, row[0])/2, n[row[0]])
					}
					if row[1] != id || row[2] != typ || row[3] != want || !json.Valid([]byte(row[3])) {
						t.Fatalf("row %q, want payload %s", row, want)
					}
				}
				counts := []int{}
				for _, c := range n {
					counts = append(counts, c)
				}
				smallest, largest := slices.Min(counts), slices.Max(counts)
				switch kind {
				case "even":
					if len(n) != 50 || smallest != 40 || largest != 40 {
						t.Errorf("even: %d clients with %d to %d messages", len(n), smallest, largest)
					}
				case "random":
					if len(n) != 50 || largest == 40 || largest > 80 {
						t.Errorf("random: %d clients with %d to %d messages", len(n), smallest, largest)
					}
				case "zipf":
					if largest < 200 || n[clientID(0)] != largest {
						t.Errorf("zipf: the first of %d clients has %d messages, the largest %d", len(n), n[clientID(0)], largest)
					}
				}
				if !slices.EqualFunc(rows, generated(t, g), slices.Equal) {
					t.Error("the same seed gave other rows")
				}
				g.Seed++
				if slices.EqualFunc(rows, generated(t, g), slices.Equal) {
					t.Error("another seed gave the same rows")
				}
			})
		}
	}
}

func number(t *testing.T, client string) (i int) {
	t.Helper()
	if _, err := fmt.Sscanf(client, "client%026d", &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestDistributionOfOneAccount(t *testing.T) {
	for _, kind := range []string{"even", "random", "zipf"} {
		next, err := newDistribution(kind, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if i := next(); i != 0 {
				t.Errorf("%s: account %d", kind, i)
			}
		}
	}
	if _, err := newDistribution("odd", 1, 3); err == nil {
		t.Error("an unknown distribution was accepted")
	}
}

func TestGenerateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.csv")
	g := Generate{File: path, Events: 5, Clients: 2, Type: "work", Distribution: "even", Seed: 1}
	out, written, _ := newIO()
	if err := g.Run(t.Context(), out); err != nil || written.Len() > 0 {
		t.Fatalf("%v, wrote %q to standard output", err, written)
	}
	got, err := os.ReadFile(path)
	if err != nil || bytes.Count(got, []byte("\n")) != 6 {
		t.Errorf("%v, file %q", err, got)
	}
	g.File = filepath.Join(t.TempDir(), "no", "folder")
	if err := g.Run(t.Context(), out); err == nil || !strings.HasSuffix(err.Error(), "there is no folder "+filepath.Dir(g.File)) {
		t.Errorf("a file in no folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.File = filepath.Join(t.TempDir(), "interrupted.csv")
	if err := g.Run(ctx, out); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(g.File)); err != nil || len(left) > 0 {
		t.Errorf("interrupted, it leaves %v, %v", left, err)
	}
}
