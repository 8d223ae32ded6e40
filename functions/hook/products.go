package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"inturn/functions"
)

// verifier says whether a request is the product's. Its error is for the sender.
type verifier func(h http.Header, body []byte, now time.Time) error

// product is what is particular to the webhooks of one.
type product struct {
	messageID string // where the id of a delivery is, unless the configuration says otherwise
	fixed     bool   // it is there and nowhere else
	verifier  func(Options) (verifier, error)
	// attributes are headers that say what a delivery is about, and the CloudEvents
	// attributes that hand each on.
	attributes  map[string]string
	answer      func(payload []byte) error // what is no event and wants an answer of its own; nil for nothing
	emptyAnswer bool                       // a receipt in the answer would be shown to people
}

var products = map[string]product{
	// https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
	"github": {
		messageID: "header X-GitHub-Delivery", attributes: map[string]string{"X-Github-Event": "githubevent"},
		verifier: signedBody("X-Hub-Signature-256", "sha256=", hex.DecodeString),
	},
	// https://docs.stripe.com/webhooks#verify-manually
	"stripe": {messageID: "/id", verifier: newStripe},
	// https://docs.slack.dev/authentication/verifying-requests-from-slack
	"slack": {messageID: "/event_id", verifier: newSlack, answer: slackChallenge, emptyAnswer: true},
	// https://shopify.dev/docs/apps/build/webhooks/subscribe/https
	"shopify": {
		messageID:  "header X-Shopify-Webhook-Id",
		attributes: map[string]string{"X-Shopify-Topic": "shopifytopic", "X-Shopify-Shop-Domain": "shopifyshop"},
		verifier:   signedBody("X-Shopify-Hmac-Sha256", "", base64.StdEncoding.DecodeString),
	},
	// https://core.telegram.org/bots/api#setwebhook
	"telegram": {messageID: "/update_id", verifier: newTelegram},
	// https://www.standardwebhooks.com
	"standard-webhooks": {messageID: "header " + standardID, fixed: true, verifier: newStandard},
	"hmac-sha256":       {verifier: newHMAC},
}

// Verifiers returns what Options.Verify may be, sorted.
func Verifiers() []string {
	names := make([]string, 0, len(products))
	for name := range products {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// signedBody verifies a header that has the HMAC-SHA-256 of the body.
func signedBody(name, prefix string, decode func(string) ([]byte, error)) func(Options) (verifier, error) {
	return func(o Options) (verifier, error) {
		return func(h http.Header, body []byte, _ time.Time) error {
			value, err := header(h, name)
			if err != nil {
				return err
			}
			text, ok := strings.CutPrefix(value, prefix)
			signature, err := decode(text)
			if !ok || err != nil || !signedBy(o.Secrets, signature, body) {
				return errSignature
			}
			return nil
		}, nil
	}
}

// newHMAC is signedBody with a header, an encoding and a prefix of the configuration.
func newHMAC(o Options) (verifier, error) {
	if o.Header == "" || strings.Trim(o.Header, token) != "" {
		return nil, option("header", "must be the name of the header that has the signature, such as X-Signature")
	}
	decode := map[string]func(string) ([]byte, error){"hex": hex.DecodeString, "base64": base64.StdEncoding.DecodeString}[o.Encoding]
	if decode == nil {
		return nil, option("encoding", "must be hex or base64")
	}
	return signedBody(o.Header, o.Prefix, decode)(o)
}

// token is the characters of a header's name (RFC 9110, section 5.6.2).
const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// signedBy reports whether signature is the HMAC-SHA-256 of the parts, one after the
// other, with one of the secrets. How long it takes tells nothing of a secret.
func signedBy(secrets []string, signature []byte, parts ...[]byte) bool {
	good := 0
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		for _, part := range parts {
			mac.Write(part)
		}
		good |= subtle.ConstantTimeCompare(mac.Sum(nil), signature)
	}
	return good == 1
}

// newStripe verifies Stripe-Signature: t= and a Unix time, and v1= and the signature of the
// time, a full stop and the body, in hex. There may be several v1=, and schemes that are
// not for verifying.
func newStripe(o Options) (verifier, error) {
	return func(h http.Header, body []byte, now time.Time) error {
		value, err := header(h, "Stripe-Signature")
		if err != nil {
			return err
		}
		var at string
		var signatures []string
		for pair := range strings.SplitSeq(value, ",") {
			switch name, v, _ := strings.Cut(strings.TrimSpace(pair), "="); name {
			case "t":
				at = v
			case "v1":
				signatures = append(signatures, v)
			}
		}
		if len(signatures) > 2*MaxSecrets { // each is a hash of the body
			return errSignature
		}
		if err := timely(at, "the time of Stripe-Signature", now); err != nil {
			return err
		}
		for _, text := range signatures {
			signature, err := hex.DecodeString(text)
			if err == nil && signedBy(o.Secrets, signature, []byte(at+"."), body) {
				return nil
			}
		}
		return errSignature
	}, nil
}

// newSlack verifies X-Slack-Signature: v0= and the signature of "v0:", the time, ":" and
// the body, in hex.
func newSlack(o Options) (verifier, error) {
	return func(h http.Header, body []byte, now time.Time) error {
		at, err := header(h, "X-Slack-Request-Timestamp")
		if err != nil {
			return err
		}
		value, err := header(h, "X-Slack-Signature")
		if err != nil {
			return err
		}
		if err := timely(at, "X-Slack-Request-Timestamp", now); err != nil {
			return err
		}
		text, ok := strings.CutPrefix(value, "v0=")
		signature, err := hex.DecodeString(text)
		if !ok || err != nil || !signedBy(o.Secrets, signature, []byte("v0:"+at+":"), body) {
			return errSignature
		}
		return nil
	}, nil
}

// timely checks a time in Unix seconds against Tolerance.
func timely(seconds, where string, now time.Time) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("%s must be Unix seconds", where)
	}
	if off := now.Unix() - n; off > int64(Tolerance/time.Second) || off < -int64(Tolerance/time.Second) {
		return errTime(where)
	}
	return nil
}

// slackChallenge answers the request by which Slack finds out whether a URL is an app's
// (https://docs.slack.dev/reference/events/url_verification).
func slackChallenge(payload []byte) error {
	var c struct{ Type, Challenge string }
	if json.Unmarshal(payload, &c) != nil || c.Type != "url_verification" || c.Challenge == "" {
		return nil
	}
	return functions.Answer("text/plain; charset=utf-8", []byte(c.Challenge))
}

// newTelegram compares the secret token that setWebhook was given.
func newTelegram(o Options) (verifier, error) {
	for _, secret := range o.Secrets {
		if len(secret) > 256 || strings.Trim(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return nil, option("secret", "must be 1 to 256 letters, digits, _ and -, as setWebhook's secret_token")
		}
	}
	return func(h http.Header, _ []byte, _ time.Time) error {
		value, err := header(h, "X-Telegram-Bot-Api-Secret-Token")
		if err != nil {
			return err
		}
		sent, good := sha256.Sum256([]byte(value)), 0
		for _, secret := range o.Secrets {
			want := sha256.Sum256([]byte(secret))
			good |= subtle.ConstantTimeCompare(sent[:], want[:])
		}
		if good != 1 {
			return errSignature
		}
		return nil
	}, nil
}
