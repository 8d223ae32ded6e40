package webhook

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestSecrets(t *testing.T) {
	a, b := secret('a'), secret('b')
	targets, err := ParseTargets([]string{"order=https://x", "mail.sent=https://y"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  []string
		want map[string][]string
		says string
	}{
		{env: nil, want: map[string][]string{"order": nil, "mail.sent": nil}},
		{env: []string{"HOME=/", "INTURN_FUNCTION=x", "INTURN_FUNCTION_SECRETS=x", "INTURN_FUNCTION_SECRET=" + a}, want: map[string][]string{"order": {a}, "mail.sent": {a}}},
		{env: []string{"INTURN_FUNCTION_SECRET=" + a, "INTURN_FUNCTION_SECRET_MAIL_SENT=" + b}, want: map[string][]string{"order": {a}, "mail.sent": {b}}},
		{env: []string{"INTURN_FUNCTION_SECRET_ORDER=" + a + " " + b}, want: map[string][]string{"order": {a, b}, "mail.sent": nil}},
		{env: []string{"INTURN_FUNCTION_SECRET_ORDER=" + a + ", " + b}, want: map[string][]string{"order": {a, b}, "mail.sent": nil}},
		{env: []string{"INTURN_FUNCTION_SECRET_ORDR=" + a}, says: "INTURN_FUNCTION_SECRET_ORDR: there is no --function"},
		{env: []string{"INTURN_FUNCTION_SECRET_order=" + a}, says: "INTURN_FUNCTION_SECRET_order: there is no --function"},
		{env: []string{"INTURN_FUNCTION_SECRET="}, says: "must be 1 to 4"},
		{env: []string{"INTURN_FUNCTION_SECRET=" + strings.Repeat(a+" ", 5)}, says: "must be 1 to 4"},
		{env: []string{"INTURN_FUNCTION_SECRET=hidden"}, says: "secret 1 must be whsec_"},
		{env: []string{"INTURN_FUNCTION_SECRET=" + a + " whsec_hidden"}, says: "secret 2 must be whsec_"},
		{env: []string{"INTURN_FUNCTION_SECRET=whsec_aGlkZGVu"}, says: "24 to 64"},
	} {
		got, err := Secrets(c.env, targets)
		switch {
		case c.says == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%q: %v, %v", c.env, got, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: %v, want %s", c.env, err, c.says)
		case err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), a)):
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	same, err := ParseTargets([]string{"a.b=https://x", "a-b=https://y"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Secrets([]string{"INTURN_FUNCTION_SECRET_A_B=" + a}, same); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("one name for two types: %v", err)
	}
	if _, err := Secrets([]string{"INTURN_FUNCTION_SECRET=" + a}, same); err != nil {
		t.Errorf("one secret for all: %v", err)
	}
}

// Beyond loopback there must be one.
func TestNothingLeavesUnsigned(t *testing.T) {
	for spec, want := range map[string]error{
		"a=http://127.0.0.1:1": nil, "a=https://localhost": nil, "a=https://example.com": ErrNoSecret, "a=https://93.184.216.34": ErrNoSecret, "a=http://app:1": ErrNoSecret,
	} {
		targets, err := ParseTargets([]string{spec}, true)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{MaxConcurrent: 1, Timeout: 1, Log: slog.New(slog.DiscardHandler)}
		if _, err := New(targets, o); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", spec, err, want)
		}
		o.Secrets = map[string][]string{"a": {secret('a')}}
		if _, err := New(targets, o); err != nil {
			t.Errorf("%s with a secret: %v", spec, err)
		}
	}
}
