package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"inturn/functions"
)

var now = time.Unix(1_790_000_000, 0)

func mac(secret, text string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// sender signs for one product, each by the description in the product's documentation.
type sender struct {
	options Options
	id      string // of the delivery
	body    string
	sign    func(h http.Header, secret string, at time.Time, body string)
}

func senders() map[string]sender {
	bySlack := func(h http.Header, secret string, at time.Time, body string) {
		h.Set("X-Slack-Request-Timestamp", fmt.Sprint(at.Unix()))
		h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac(secret, fmt.Sprintf("v0:%d:%s", at.Unix(), body))))
	}
	return map[string]sender{
		"github": {Options{Verify: "github"}, "72d3162e-cc78", `{"zen":"Design for failure."}`, func(h http.Header, secret string, _ time.Time, body string) {
			h.Set("X-Github-Delivery", "72d3162e-cc78")
			h.Set("X-Github-Event", "ping")
			h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(secret, body)))
		}},
		"stripe": {Options{Verify: "stripe"}, "evt_1", `{"id":"evt_1","object":"event"}`, func(h http.Header, secret string, at time.Time, body string) {
			h.Set("Stripe-Signature", fmt.Sprintf("t=%d,v0=00,v1=%s", at.Unix(), hex.EncodeToString(mac(secret, fmt.Sprintf("%d.%s", at.Unix(), body)))))
		}},
		"slack": {Options{Verify: "slack"}, "Ev1", `{"type":"event_callback","event_id":"Ev1"}`, bySlack},
		"shopify": {Options{Verify: "shopify"}, "b54557e4", `{"id":820982911946154508}`, func(h http.Header, secret string, _ time.Time, body string) {
			h.Set("X-Shopify-Webhook-Id", "b54557e4")
			h.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac(secret, body)))
		}},
		"telegram": {Options{Verify: "telegram"}, "10000", `{"update_id":10000,"message":{}}`, func(h http.Header, secret string, _ time.Time, _ string) {
			h.Set("X-Telegram-Bot-Api-Secret-Token", secret)
		}},
		"hmac-sha256": {Options{Verify: "hmac-sha256", Header: "X-Signature", Encoding: "hex", Prefix: "v1:", MessageID: "/data/id"}, "a/b", `{"data":{"id":"a/b"}}`,
			func(h http.Header, secret string, _ time.Time, body string) {
				h.Set("X-Signature", "v1:"+hex.EncodeToString(mac(secret, body)))
			}},
	}
}

// send calls the hook as a server does.
func send(t *testing.T, o Options, h http.Header, body string) (ev functions.Event, err error) {
	t.Helper()
	o.Path, o.Type, o.Now = "/hooks/x/{client_id}", "order", func() time.Time { return now }
	if o.Secrets == nil {
		o.Secrets = []string{"new_secret", "old_secret"}
	}
	f, err := New(o)
	if err != nil {
		t.Fatalf("%s: %v", o.Verify, err)
	}
	pattern, fn := f.HTTP()
	r := httptest.NewRequest("POST", "/hooks/x/shop%201", strings.NewReader(body))
	r.Header = h
	var mux http.ServeMux
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { ev, err = fn(r) })
	mux.ServeHTTP(httptest.NewRecorder(), r)
	return ev, err
}

func TestProducts(t *testing.T) {
	all := senders()
	for _, name := range Verifiers() {
		s, ok := all[name]
		if !ok {
			if name != "standard-webhooks" { // see TestStandardWebhooksInTheConfiguration
				t.Errorf("%s has no test", name)
			}
			continue
		}
		signed := func(secret string, at time.Time, signedBody string) http.Header {
			h := http.Header{}
			s.sign(h, secret, at, signedBody)
			return h
		}
		for _, secret := range []string{"new_secret", "old_secret"} {
			ev, err := send(t, s.options, signed(secret, now, s.body), s.body)
			if err != nil || ev.ClientID != "shop 1" || ev.MessageID != s.id || ev.Type != "order" || string(ev.Payload) != s.body {
				t.Errorf("%s with the %s: %+v, %v", name, secret, ev, err)
			}
		}
		refused := map[string]http.Header{
			"another secret": signed("no_secret", now, s.body),
			"no signature":   {},
		}
		if name != "telegram" {
			refused["another body"] = signed("new_secret", now, s.body+" ")
		}
		if name == "stripe" || name == "slack" {
			for _, off := range []time.Duration{-Tolerance, Tolerance} {
				if _, err := send(t, s.options, signed("new_secret", now.Add(off), s.body), s.body); err != nil {
					t.Errorf("%s, %v off: %v", name, off, err)
				}
			}
			refused["too old"] = signed("new_secret", now.Add(-Tolerance-time.Second), s.body)
			refused["too new"] = signed("new_secret", now.Add(Tolerance+time.Second), s.body)
		}
		for header, values := range signed("new_secret", now, s.body) {
			twice, cut := signed("new_secret", now, s.body), signed("new_secret", now, s.body)
			twice.Add(header, values[0])
			cut.Set(header, values[0][:len(values[0])-2])
			if header != "X-Github-Event" && header != "X-Github-Delivery" && header != "X-Shopify-Webhook-Id" {
				refused[header+" twice"], refused[header+" cut short"] = twice, cut
			}
		}
		for what, h := range refused {
			ev, err := send(t, s.options, h, s.body)
			if _, ok := errors.AsType[*functions.UnauthorizedError](err); !ok || ev.ClientID != "" {
				t.Errorf("%s, %s: %+v, %v, want unauthorized", name, what, ev, err)
			} else if strings.Contains(err.Error(), "new_secret") {
				t.Errorf("%s, %s: the error says too much: %v", name, what, err)
			}
		}
	}
}

// The examples of the products' documentation.
func TestDocumentedSignatures(t *testing.T) {
	for _, c := range []struct {
		product, secret, body string
		at                    int64
		header                http.Header
	}{
		{"github", "It's a Secret to Everybody", "Hello, World!", 0,
			http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}}},
		{"slack", "8f742231b10e8888abcd99yyyzzz85a5", "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
			1531420618, http.Header{"X-Slack-Request-Timestamp": {"1531420618"},
				"X-Slack-Signature": {"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"}}},
	} {
		check, err := products[c.product].verifier(Options{Secrets: []string{c.secret}})
		if err != nil {
			t.Fatal(err)
		}
		if err := check(c.header, []byte(c.body), time.Unix(c.at, 0)); err != nil {
			t.Errorf("%s: %v", c.product, err)
		}
		if check(c.header, []byte(c.body+" "), time.Unix(c.at, 0)) == nil {
			t.Errorf("%s takes another body", c.product)
		}
	}
}

func TestStandardWebhooksInTheConfiguration(t *testing.T) {
	o := Options{Verify: "standard-webhooks", Secrets: []string{secret('n'), secret('o')}}
	for _, key := range []byte{'n', 'o'} {
		ev, err := send(t, o, signed(t, secret(key), "msg_1", time.Now(), `{}`).Header, `{}`)
		if err != nil || ev.MessageID != "msg_1" || ev.ClientID != "shop 1" {
			t.Errorf("secret %c: %+v, %v", key, ev, err)
		}
	}
	if _, err := send(t, o, signed(t, secret('x'), "msg_1", time.Now(), `{}`).Header, `{}`); err == nil {
		t.Error("another secret is taken")
	}
}

// Slack finds out with a signed request of its own whether the address is the app's.
func TestSlackChallenge(t *testing.T) {
	body := `{"token":"t","challenge":"3eZbrw1aB10","type":"url_verification"}`
	h := http.Header{}
	senders()["slack"].sign(h, "new_secret", now, body)
	_, err := send(t, Options{Verify: "slack"}, h, body)
	answer, ok := errors.AsType[*functions.AnswerError](err)
	if !ok || string(answer.Body) != "3eZbrw1aB10" || !strings.HasPrefix(answer.ContentType, "text/plain") {
		t.Errorf("%v", err)
	}
	_, err = send(t, Options{Verify: "slack"}, http.Header{}, body)
	if _, ok := errors.AsType[*functions.UnauthorizedError](err); !ok {
		t.Errorf("an unsigned challenge: %v", err)
	}
}

// Forms become JSON, after their signature was checked as it came.
func TestForms(t *testing.T) {
	for _, c := range []struct{ form, payload, id string }{
		{url.Values{"payload": {`{"event_id":"Ev1"}`}}.Encode(), `{"event_id":"Ev1"}`, "Ev1"},
		{"event_id=7&text=a+b&text=c", `{"event_id":"7","text":["a b","c"]}`, "7"},
	} {
		h := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
		senders()["slack"].sign(h, "new_secret", now, c.form)
		ev, err := send(t, Options{Verify: "slack"}, h, c.form)
		if err != nil || string(ev.Payload) != c.payload || ev.MessageID != c.id {
			t.Errorf("%s: %+v, %v", c.form, ev, err)
		}
	}
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	senders()["slack"].sign(h, "new_secret", now, "%zz")
	if _, err := send(t, Options{Verify: "slack"}, h, "%zz"); err == nil {
		t.Error("a broken form is taken")
	}
}

func TestMessageID(t *testing.T) {
	for _, c := range []struct{ where, body, want string }{
		{"", `{"update_id":7}`, "7"}, {"/message/id", `{"message":{"id":"x"},"id":"y"}`, "x"}, {"/a~1b/~0", `{"a/b":{"~":"x"}}`, "x"},
		{"/list/1", `{"list":[{"id":1},"x"]}`, "x"}, {"header X-Id", `{}`, "from the header"}, {"/é", `{"é":"ü"}`, "ü"},
		{"/id", `{"id":1.5}`, ""}, {"/id", `{"id":null}`, ""}, {"/id", `{"id":{"id":"x"}}`, ""}, {"/id", `{"other":{"id":"x"}}`, ""}, {"/id", `{}`, ""}, {"/id", `x`, ""},
		{"/id", `{"id":1e3}`, ""}, {"header X-None", `{}`, ""}, {"/0", `[true]`, ""},
	} {
		h := http.Header{"X-Telegram-Bot-Api-Secret-Token": {"new_secret"}, "X-Id": {"from the header"}}
		ev, err := send(t, Options{Verify: "telegram", MessageID: c.where}, h, c.body)
		if ev.MessageID != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q in %s: %q, %v, want %q", c.where, c.body, ev.MessageID, err, c.want)
		}
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	good := Options{Path: "/hooks/x/{client_id}", Verify: "hmac-sha256", Secrets: []string{"s"}, Type: "t", MessageID: "/id", Header: "X-Sig", Encoding: "hex"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field  string
		change func(*Options)
	}{
		{"/verify", func(o *Options) { o.Verify = "md5" }}, {"/type", func(o *Options) { o.Type = "" }},
		{"/secret", func(o *Options) { o.Secrets = nil }}, {"/secret", func(o *Options) { o.Secrets = make([]string, 5) }},
		{"/secret", func(o *Options) { o.Verify, o.Secrets = "telegram", []string{"a b"} }},
		{"/secret", func(o *Options) { o.Verify, o.Secrets, o.MessageID = "standard-webhooks", []string{"short"}, "" }},
		{"/message_id", func(o *Options) { o.MessageID = "" }}, {"/message_id", func(o *Options) { o.MessageID = "id" }}, {"/message_id", func(o *Options) { o.MessageID = "/~2" }},
		{"/message_id", func(o *Options) { o.MessageID = "header a b" }}, {"/message_id", func(o *Options) { o.MessageID = "header " }},
		{"/message_id", func(o *Options) { o.Verify, o.Secrets = "standard-webhooks", []string{secret('n')} }},
		{"/header", func(o *Options) { o.Header = "" }}, {"/header", func(o *Options) { o.Header = "X Sig" }}, {"/encoding", func(o *Options) { o.Encoding = "base32" }},
		{"/path", func(o *Options) { o.Path = "/hooks/x" }}, {"/path", func(o *Options) { o.Path = "hooks/{client_id}" }}, {"/path", func(o *Options) { o.Path = "/{client_id}" }},
		{"/path", func(o *Options) { o.Path = "/v1/hooks/{client_id}/x" }}, {"/path", func(o *Options) { o.Path = "/h/{client_id}/{client_id}" }},
		{"/path", func(o *Options) { o.Path = "/h/{type}/{client_id}" }}, {"/path", func(o *Options) { o.Path = "/h/../{client_id}" }}, {"/path", func(o *Options) { o.Path = "/h//{client_id}" }},
		{"/path", func(o *Options) { o.Path = "GET /h/{client_id}" }}, {"/path", func(o *Options) { o.Path = "/h/{client_id}/{$}" }}, {"/path", func(o *Options) { o.Path = "/" + strings.Repeat("x", 300) + "/{client_id}" }},
	} {
		o := good
		c.change(&o)
		_, err := New(o)
		fe, ok := errors.AsType[*functions.FieldError](err)
		if !ok || fe.Pointer != c.field {
			t.Errorf("%+v: %v, want one about %s", o, err, c.field)
		}
	}
}

func TestAttributesAreHandedOn(t *testing.T) {
	s := senders()["github"]
	h := http.Header{}
	s.sign(h, "new_secret", now, s.body)
	if ev, err := send(t, s.options, h, s.body); err != nil || string(ev.Attrs) != `{"githubevent":"ping"}` {
		t.Errorf("%s, %v", ev.Attrs, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("slack", "payload=%7B%7D", "application/x-www-form-urlencoded")
	f.Add("telegram", `{"update_id":1}`, "")
	f.Add("stripe", `{"id":{"id":1}}`, "application/json")
	f.Fuzz(func(t *testing.T, name, body, kind string) {
		s, ok := senders()[name]
		if !ok {
			return
		}
		h := http.Header{"Content-Type": {kind}}
		s.sign(h, "new_secret", now, body)
		if ev, err := send(t, s.options, h, body); err == nil && (ev.ClientID != "shop 1" || ev.Type != "order") {
			t.Fatalf("%+v", ev)
		}
		s.sign(h, "other", now, body)
		if ev, err := send(t, s.options, h, body); err == nil {
			t.Fatalf("%+v with another secret", ev)
		}
	})
}
