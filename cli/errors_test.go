package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func TestFail(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		want   string
	}{
		{"nothing", nil, 0, ""},
		{"plain", errors.New("listen: address in use"), 1, "inturn: listen: address in use\n"},
		{"hint", fmt.Errorf("check: %w", &Hint{errors.New("x: there is no such file"), "name it"}), 1,
			"inturn: check: x: there is no such file\nhint: name it\n"},
		{"joined", errors.Join(errors.New("a"), errors.New("b")), 1, "inturn: a; b\n"},
		{"terminal", errors.New("bad id \x1b[2J\u009b"), 1, "inturn: bad id \\u001b[2J\\u009b\n"},
		{"interrupted", fmt.Errorf("demo: %w", context.Canceled), 1, "inturn: interrupted\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w bytes.Buffer
			if got := Fail(&w, c.err); got != c.status || w.String() != c.want {
				t.Errorf("got %d and %q, want %d and %q", got, w.String(), c.status, c.want)
			}
		})
	}
}

type commands struct {
	Demo     Demo     `cmd:""`
	Generate Generate `cmd:""`
	Query    Query    `cmd:""`
	Check    Check    `cmd:""`
	Health   Health   `cmd:""`
	Version  Version  `cmd:""`
	Accounts Accounts `cmd:""`
	Cancel   Cancel   `cmd:""`
	Dead     Dead     `cmd:""`
	Types    Types    `cmd:""`
	Pause    Pause    `cmd:""`
	Resume   Resume   `cmd:""`
	Audit    Audit    `cmd:""`
	Send     struct {
		Client
	} `cmd:""`
}

func parse(t *testing.T, args ...string) (commands, error) {
	t.Helper()
	all, _, err := parseCommand(t, args...)
	return *all, err
}

func parseCommand(t *testing.T, args ...string) (*commands, *kong.Context, error) {
	t.Helper()
	all := &commands{}
	parser, err := kong.New(all, kong.Name("inturn"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	return all, parsed, err
}

func TestFlagDefaults(t *testing.T) {
	got, err := parse(t, "demo")
	if want := (Demo{Events: 10000, Accounts: 1000, Work: time.Second, Distribution: "even", Seed: 1}); err != nil || got.Demo != want {
		t.Errorf("demo: %+v, %v", got.Demo, err)
	}
	got, err = parse(t, "generate", "-")
	if want := (Generate{File: "-", Events: 10000, Clients: 1000, Type: "work", Distribution: "even", Seed: 1}); err != nil || got.Generate != want {
		t.Errorf("generate: %+v, %v", got.Generate, err)
	}
	got, err = parse(t, "query", "SELECT 1", "--csv")
	if want := (Query{SQL: "SELECT 1", DB: "data/inturn.db", Schema: "inturn", CSV: true, Timeout: 5 * time.Minute}); err != nil || got.Query != want {
		t.Errorf("query: %+v, %v", got.Query, err)
	}
	t.Setenv("INTURN_TOKEN", "secret")
	t.Setenv("INTURN_DB", "/x/y.db")
	t.Setenv("INTURN_ADMIN", ":9")
	if got, err = parse(t, "send"); err != nil || got.Send.Client != (Client{URL: "https://localhost:8443", Token: "secret"}) {
		t.Errorf("client: %v", err)
	}
	if got, err = parse(t, "check"); err != nil || got.Check.DB != "/x/y.db" {
		t.Errorf("check: %+v, %v", got.Check, err)
	}
	if got, err = parse(t, "health"); err != nil || got.Health.Admin != ":9" {
		t.Errorf("health: %+v, %v", got.Health, err)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"demo", "--events", "0"},
		{"demo", "--accounts", "-1"},
		{"demo", "--work", "1500us"},
		{"demo", "--work", "2m"},
		{"demo", "--distribution", "odd"},
		{"generate"},
		{"generate", "-", "--clients", "0"},
		{"generate", "-", "--type", "other"},
		{"query"},
		{"query", "SELECT 1", "--json", "--csv"},
		{"nothing"},
	} {
		_, err := parse(t, args...)
		var w bytes.Buffer
		if status := Fail(&w, err); status != 2 || !bytes.Contains(w.Bytes(), []byte("\nhint: see `inturn")) {
			t.Errorf("%q: exit status %d, %q", args, status, w.String())
		}
	}
}
