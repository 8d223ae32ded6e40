// Package vendors tests the hooks against the products' own libraries, or well-kept ones: a
// signature that such a library makes is taken, and of a request that it verifies or
// refuses the hook says the same. The libraries are in a module of their own, so that the
// product does not have them.
package vendors

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v75/github"
	"github.com/slack-go/slack"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v82/webhook"

	"inturn/functions"
	"inturn/functions/hook"
)

// receive calls a hook as a server does.
func receive(t *testing.T, verify, secret string, h http.Header, body string) (ev functions.Event, err error) {
	t.Helper()
	f, err := hook.New(hook.Options{Path: "/hooks/{client_id}", Verify: verify, Secrets: []string{secret}, Type: "t"})
	if err != nil {
		t.Fatal(err)
	}
	pattern, fn := f.HTTP()
	var mux http.ServeMux
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { ev, err = fn(r) })
	mux.ServeHTTP(httptest.NewRecorder(), request(h, body))
	return ev, err
}

func request(h http.Header, body string) *http.Request {
	r := httptest.NewRequest("POST", "/hooks/shop", strings.NewReader(body))
	r.Header = h.Clone()
	return r
}

// agree checks that hook and library say the same of a request and of those that are
// changed on the way.
func agree(t *testing.T, product, secret string, h http.Header, body, id string, library func(secret string, r *http.Request) error) {
	t.Helper()
	ev, err := receive(t, product, secret, h, body)
	if err != nil || ev.MessageID != id || string(ev.Payload) != body {
		t.Errorf("%s: %+v, %v", product, ev, err)
	}
	if err := library(secret, request(h, body)); err != nil {
		t.Errorf("%s: the library refuses: %v", product, err)
	}
	refused := func(what, secret string, h http.Header, body string) {
		if _, err := receive(t, product, secret, h, body); err == nil || library(secret, request(h, body)) == nil {
			t.Errorf("%s with %s is taken, or by the library: %v", product, what, err)
		}
	}
	refused("another body", secret, h, strings.Replace(body, "1", "2", 1))
	refused("another secret", secret+"x", h, body)
	for name := range h {
		if strings.Contains(name, "Sign") || strings.Contains(name, "Hmac") || strings.Contains(name, "Timestamp") {
			less := h.Clone()
			less.Del(name)
			refused("no "+name, secret, less, body)
		}
	}
}

func mac(secret, text string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func read(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err) // it is in memory
	}
	return body
}

func TestStripe(t *testing.T) {
	const secret, body = "whsec_test_secret", `{"id":"evt_1","object":"event"}`
	verify := func(secret string, r *http.Request) error {
		return webhook.ValidatePayload(read(r), r.Header.Get("Stripe-Signature"), secret)
	}
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret})
	agree(t, "stripe", secret, http.Header{"Stripe-Signature": {signed.Header}}, body, "evt_1", verify)
	old := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: time.Now().Add(-webhook.DefaultTolerance - time.Minute)})
	h := http.Header{"Stripe-Signature": {old.Header}}
	if _, err := receive(t, "stripe", secret, h, body); err == nil || verify(secret, request(h, body)) == nil {
		t.Errorf("an old signature: %v", err)
	}
}

func TestSlack(t *testing.T) {
	const secret, body = "8f742231b10e8888abcd99yyyzzz85a5", `{"type":"event_callback","event_id":"Ev1"}`
	verify := func(secret string, r *http.Request) error {
		v, err := slack.NewSecretsVerifier(r.Header, secret)
		if err != nil {
			return err
		}
		if _, err := v.Write(read(r)); err != nil {
			return err
		}
		return v.Ensure()
	}
	signed := func(at time.Time) http.Header {
		seconds := fmt.Sprint(at.Unix())
		return http.Header{"X-Slack-Request-Timestamp": {seconds}, "X-Slack-Signature": {"v0=" + hex.EncodeToString(mac(secret, "v0:"+seconds+":"+body))}}
	}
	agree(t, "slack", secret, signed(time.Now()), body, "Ev1", verify)
	for _, off := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		h := signed(time.Now().Add(off))
		if _, err := receive(t, "slack", secret, h, body); err == nil || verify(secret, request(h, body)) == nil {
			t.Errorf("a signature that is %v off: %v", off, err)
		}
	}
}

func TestGitHub(t *testing.T) {
	const secret, body = "a secret with blanks", `{"action":"opened","number":1}`
	h := http.Header{"X-Github-Delivery": {"72d3162e"}, "X-Hub-Signature-256": {javaScript(t, body, "octokit", secret)}}
	agree(t, "github", secret, h, body, "72d3162e", func(secret string, r *http.Request) error {
		_, err := github.ValidatePayloadFromBody("application/json", r.Body, r.Header.Get(github.SHA256SignatureHeader), []byte(secret))
		return err
	})
	// As a form, which the other of the two content types is.
	form := "payload=%7B%22action%22%3A%22opened%22%7D"
	h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(secret, form)))
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	want, err := github.ValidatePayloadFromBody("application/x-www-form-urlencoded", strings.NewReader(form), h.Get(github.SHA256SignatureHeader), []byte(secret))
	if ev, herr := receive(t, "github", secret, h, form); herr != nil || err != nil || !bytes.Equal(ev.Payload, want) {
		t.Errorf("%s, %v; the library: %s, %v", ev.Payload, herr, want, err)
	}
}

func TestShopify(t *testing.T) {
	const secret, body = "hush", `{"id":820982911946154508}`
	h := http.Header{"X-Shopify-Webhook-Id": {"b54557e4"}, "X-Shopify-Hmac-Sha256": {javaScript(t, body, "shopify", secret)}}
	agree(t, "shopify", secret, h, body, "b54557e4", func(secret string, r *http.Request) error {
		if r.Header.Get("X-Shopify-Hmac-Sha256") != javaScript(t, string(read(r)), "shopify", secret) {
			return errors.New("another signature")
		}
		return nil
	})
}

func TestStandardWebhooks(t *testing.T) {
	const body = `{"type":"order.paid","n":1}`
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	at := time.Now()
	h := http.Header{"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {fmt.Sprint(at.Unix())},
		"Webhook-Signature": {javaScript(t, body, "standardwebhooks", secret, "msg_1", fmt.Sprint(at.Unix()))}}
	ev, err := receive(t, "standard-webhooks", secret, h, body)
	if err != nil || ev.MessageID != "msg_1" || string(ev.Payload) != body {
		t.Errorf("%+v, %v", ev, err)
	}
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil || wh.Verify([]byte(body), h) != nil {
		t.Errorf("the library for Go refuses: %v", err)
	}
	h.Set("Webhook-Id", "msg_2")
	if _, err := receive(t, "standard-webhooks", secret, h, body); err == nil {
		t.Error("another id is taken")
	}
}

// javaScript signs with a library from npm: see sign.mjs.
func javaScript(t *testing.T, body string, args ...string) string {
	t.Helper()
	if _, err := os.Stat("node_modules"); err != nil {
		if os.Getenv("INTURN_NEED") != "" {
			t.Fatal("node_modules is not there: npm ci --ignore-scripts")
		}
		t.Skip("node_modules is not there: npm ci --ignore-scripts")
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"sign.mjs"}, args...)...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(body), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node sign.mjs %s: %v", args[0], err)
	}
	return string(out)
}
