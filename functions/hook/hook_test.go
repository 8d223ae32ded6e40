package hook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"inturn/functions"
)

func secret(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 24)))
}

// signed is a webhook as a sender with the library makes it.
func signed(t *testing.T, secret, id string, at time.Time, body string) *http.Request {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/hooks/shop/order", strings.NewReader(body))
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", fmt.Sprint(at.Unix()))
	r.Header.Set("Webhook-Signature", signature)
	return r
}

// receive sends r through the pattern that the function is mounted at.
func receive(t *testing.T, r *http.Request) (ev functions.Event, err error) {
	t.Helper()
	pattern, fn := Function(func(clientID string) []string {
		if clientID == "shop" {
			return []string{secret('n'), "whsec_not base64", secret('o')} // the new one and the old one
		}
		return nil
	}).HTTP()
	called := false
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { called = true; ev, err = fn(r) })
	mux.ServeHTTP(httptest.NewRecorder(), r)
	if !called {
		t.Fatalf("%s %s does not reach the function", r.Method, r.URL)
	}
	return ev, err
}

func TestASignedWebhookIsAnEvent(t *testing.T) {
	for _, key := range []byte{'n', 'o'} {
		ev, err := receive(t, signed(t, secret(key), "msg_1", time.Now(), `{"total": 3}`))
		if err != nil || ev.ClientID != "shop" || ev.MessageID != "msg_1" || ev.Type != "order" || string(ev.Payload) != `{"total": 3}` {
			t.Errorf("secret %c: %+v, %v", key, ev, err)
		}
	}
	// Senders may sign with several keys of their own (spec, "Signature scheme").
	r := signed(t, secret('n'), "msg_1", time.Now(), `{}`)
	r.Header.Set("Webhook-Signature", "v1,AAAA v1a,AAAA "+r.Header.Get("Webhook-Signature"))
	if _, err := receive(t, r); err != nil {
		t.Errorf("one signature of three: %v", err)
	}
	for _, off := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		if _, err := receive(t, signed(t, secret('n'), "msg_1", time.Now().Add(off), `{}`)); err != nil {
			t.Errorf("a clock that is off by %v: %v", off, err)
		}
	}
}

func TestWebhooksThatAreRefused(t *testing.T) {
	now := time.Now()
	good := func() *http.Request { return signed(t, secret('n'), "msg_1", now, `{"total":3}`) }
	with := func(name, value string) *http.Request {
		r := good()
		r.Header.Set(name, value)
		return r
	}
	twice := good()
	twice.Header.Add("Webhook-Id", "msg_2")
	changed := good()
	changed.Body = http.NoBody
	other := good()
	other.URL.Path = "/v1/hooks/bank/order"
	without := good()
	without.Header.Del("Webhook-Signature")
	for what, r := range map[string]*http.Request{
		"wrong secret":         signed(t, secret('x'), "msg_1", now, `{"total":3}`),
		"too old":              signed(t, secret('n'), "msg_1", now.Add(-6*time.Minute), `{"total":3}`),
		"too new":              signed(t, secret('n'), "msg_1", now.Add(6*time.Minute), `{"total":3}`),
		"changed body":         changed,
		"changed id":           with("Webhook-Id", "msg_2"),
		"changed time":         with("Webhook-Timestamp", fmt.Sprint(now.Unix()+1)),
		"time is no number":    with("Webhook-Timestamp", "now"),
		"another version":      with("Webhook-Signature", strings.Replace(good().Header.Get("Webhook-Signature"), "v1,", "v2,", 1)),
		"empty signature":      with("Webhook-Signature", ""),
		"no signature":         without,
		"two ids":              twice,
		"an account of others": other,
	} {
		ev, err := receive(t, r)
		if _, ok := errors.AsType[*functions.UnauthorizedError](err); !ok || ev.ClientID != "" {
			t.Errorf("%s: %+v, %v", what, ev, err)
			continue
		}
		if strings.Contains(err.Error(), "whsec") || strings.Contains(err.Error(), "total") {
			t.Errorf("%s: the error says too much: %v", what, err)
		}
	}
}
