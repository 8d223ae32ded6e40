package serve

import (
	"errors"
	"strings"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions/api"
)

// Each thing that a person should look at has a warning of its own; without any there is none.
func TestStatusWarnings(t *testing.T) {
	if got := warningsOf(api.Status{Ready: true, Pending: 5, Retrying: 1, Paused: 1, Dead: 9, Endpoints: []api.StatusEndpoint{{Type: "t", State: "up"}}}, nil, nil, ""); got == nil || len(got) != 0 {
		t.Errorf("nothing is wrong: %q", got)
	}
	since := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	got := warningsOf(api.Status{
		Parked: 2, Stuck: 1, TypesWithoutFunction: []api.StatusType{{Type: "greet", Accounts: 3}}, Endpoints: []api.StatusEndpoint{{Type: "a", State: "down"}, {Type: "b", State: "up"}},
	}, []db.PausedType{{Since: since}, {Type: "charge", Since: since}}, errors.New("why not"), "the certificate ends")
	for i, want := range []string{"new events are refused: why not", "2 account(s) parked", "1 account(s) stuck", "everything is paused since 2026-01-31T12:00:00Z",
		`type "charge" is paused since 2026`, `type "greet" has no function, and 3 account(s)`, `the endpoint of type "a" is down`, "the certificate ends"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("warning %d of %q: want %q", i, got, want)
		}
	}
	if len(got) != 8 {
		t.Errorf("%d warnings: %q", len(got), got)
	}
	full := warningsOf(api.Status{Storage: api.StatusStorage{Full: true}}, nil, nil, "")
	if len(full) != 1 || !strings.Contains(full[0], "disk is full") {
		t.Errorf("a full disk: %q", full)
	}
}
