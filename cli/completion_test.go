package cli

import (
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestCandidates(t *testing.T) {
	var commands struct {
		Query    Query    `cmd:"" help:"Ask."`
		Accounts Accounts `cmd:""`
		Hidden   struct{} `cmd:"" hidden:""`
	}
	parser, err := kong.New(&commands, append(Options(), kong.Name("inturn"))...)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"": "query accounts", "q": "query", "x": "", "accounts s": "show skip", "accounts list s": "",
		"accounts list --state ": "idle ready running retrying parked stuck", "accounts list --state p": "parked",
		"accounts list --state=p": "--state=parked", "accounts list --state = p": "parked", "accounts list --state =": "idle ready running retrying parked stuck",
		"accounts list --state parked --li": "--limit", "accounts list --paused --li": "--limit", "accounts --state ": "list show pause resume retry skip replay erase",
		"query --db ": "", "query --db --cs": "", "query --json --cs": "--csv", "accounts list --nosuch=": "", "--h": "--help", "h": "",
	} {
		var got []string
		for _, c := range candidates(parser.Model.Node, strings.Split(line, " ")) {
			got = append(got, c.word)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if all := candidates(parser.Model.Node, nil); len(all) != 2 || all[0] != (candidate{"query", "Ask."}) {
		t.Errorf("no words: %v", all)
	}
}
