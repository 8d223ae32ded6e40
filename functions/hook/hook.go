// Package hook makes HTTP functions for senders that sign what they send and can't shape
// their body: the webhooks of other products.
//
//	request --> body --> verified, by one of the hook's secrets --> event
//	                          |                                 message_id: the sender's own
//	                          +-- no: 401                       payload: the body, as JSON
//
// New makes one as a configuration names it, for the products that Verifiers lists.
// Function is the one that every server has, for senders that sign as Standard Webhooks
// says (https://www.standardwebhooks.com), with the secrets of the token file.
//
// A product's repeat of a delivery has the id of the first, so it runs nothing twice. What
// it says a second time may differ in details (a count of attempts, a time); it is a repeat
// all the same, because the id alone names a delivery.
//
// # Replays
//
// Where the signature covers a time (Stripe, Slack, Standard Webhooks) a request is good
// for Tolerance. Where it covers the body alone (GitHub, Shopify, hmac-sha256) or is a
// shared secret (Telegram) it is good for as long as the secret is; then an id in a header
// protects from repeats, not from a stranger that has read a request: that is the work of TLS. An
// id in the body is covered by the signature.
package hook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"inturn/functions"
)

// Bounds of a hook.
const (
	Tolerance  = 5 * time.Minute // between a signed time and this machine's clock, either way
	MaxSecrets = 4
	maxPath    = 256
)

// Options of New.
type Options struct {
	Path    string   // such as /hooks/github/{client_id}
	Verify  string   // one of Verifiers
	Secrets []string // 1 to MaxSecrets; each is good, so that one can follow another
	Type    string   // of the events
	// MessageID is where the sender's id of a delivery is: "header NAME", or a JSON Pointer
	// (RFC 6901) into the payload. "" is the product's usual place.
	MessageID string

	// Of hmac-sha256 alone: the header that has the signature of the body, how it is
	// written (hex or base64), and what stands before it, such as sha256=.
	Header, Encoding, Prefix string

	Now func() time.Time // nil: time.Now
}

// New makes an HTTP function that takes a product's webhooks. Errors are
// *functions.FieldError and name the option: /path, /verify, /secret, /type, /message_id,
// /header, /encoding or /prefix. None shows a secret.
func New(o Options) (functions.Function, error) {
	p, ok := products[o.Verify]
	if !ok {
		return functions.Function{}, option("verify", "must be one of "+strings.Join(Verifiers(), ", "))
	}
	if err := checkPath(o.Path); err != nil {
		return functions.Function{}, err
	}
	if err := functions.CheckType(o.Type); err != nil {
		return functions.Function{}, option("type", err.Error())
	}
	if len(o.Secrets) == 0 || len(o.Secrets) > MaxSecrets {
		return functions.Function{}, option("secret", fmt.Sprintf("must be 1 to %d secrets", MaxSecrets))
	}
	id, err := p.place(o.MessageID)
	if err != nil {
		return functions.Function{}, err
	}
	check, err := p.verifier(o)
	if err != nil {
		return functions.Function{}, err
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	receive := func(r *http.Request) (functions.Event, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return functions.Event{}, fmt.Errorf("body: %w", err)
		}
		if err := check(r.Header, body, now()); err != nil {
			return functions.Event{}, functions.Unauthorized(err)
		}
		payload, err := payloadOf(r.Header, body)
		if err != nil {
			return functions.Event{}, err
		}
		if p.answer != nil {
			if answer := p.answer(payload); answer != nil {
				return functions.Event{}, answer
			}
		}
		messageID, err := id.of(r.Header, payload)
		if err != nil {
			return functions.Event{}, err
		}
		return functions.Event{
			ClientID: r.PathValue("client_id"), MessageID: messageID, Type: o.Type, Payload: payload, Attrs: attributes(p.attributes, r.Header),
		}, nil
	}
	options := []functions.Option{functions.RepeatByID()}
	if p.emptyAnswer {
		options = append(options, functions.EmptyAnswer())
	}
	return functions.HTTP("POST "+o.Path, receive, options...), nil
}

// option makes an error about one of the Options.
func option(name, detail string) error {
	return &functions.FieldError{Pointer: "/" + name, Detail: detail}
}

var pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/\{client_id\}(/[A-Za-z0-9._~-]+)*$`)

func checkPath(path string) error {
	const how = "must be like /hooks/github/{client_id}: "
	switch {
	case len(path) > maxPath:
		return option("path", fmt.Sprintf("must have at most %d bytes", maxPath))
	case !pathPattern.MatchString(path):
		return option("path", how+"segments of letters, digits and . _ ~ -, one of them {client_id}")
	case path == "/v1" || strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/{"):
		return option("path", how+"the paths below /v1 are the API's")
	case strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../"):
		return option("path", how+"no segment may be . or ..")
	}
	return nil
}

// Function takes webhooks that are signed as Standard Webhooks says:
//
//	POST /v1/hooks/{client_id}/{type}
//	webhook-id: …          the event's message_id
//	webhook-timestamp: …   Unix seconds, at most Tolerance from this server's clock
//	webhook-signature: …   v1,… of one of the client_id's secrets
//
//	the body, any JSON     the event's payload
//
// secrets returns the signing secrets of an account, as "whsec_" and base64: all that are
// good now, so that one can follow another without a gap. Where there are none nobody can
// send for the account. It is asked for every request and must not block.
func Function(secrets func(clientID string) []string) functions.Function {
	return functions.HTTP("POST /v1/hooks/{client_id}/{type}", func(r *http.Request) (functions.Event, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return functions.Event{}, fmt.Errorf("body: %w", err)
		}
		clientID := r.PathValue("client_id")
		if err := verifyStandard(secrets(clientID), r.Header, body); err != nil {
			return functions.Event{}, functions.Unauthorized(err)
		}
		return functions.Event{
			ClientID:  clientID,
			MessageID: r.Header.Get(standardID),
			Type:      r.PathValue("type"),
			Payload:   body,
		}, nil
	})
}

// errSignature is what a sender hears whose signature is not good. It must not tell whether
// there are secrets.
var errSignature = errors.New("the signature fits no secret of this hook")
