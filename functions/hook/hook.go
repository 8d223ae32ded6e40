// Package hook is an HTTP function for senders that sign what they send as Standard
// Webhooks says (https://www.standardwebhooks.com) and can't shape their body.
//
//	POST /v1/hooks/{client_id}/{type}
//	webhook-id: …          the event's message_id
//	webhook-timestamp: …   Unix seconds, at most 5 minutes from this server's clock
//	webhook-signature: …   v1,… of one of the client_id's secrets
//
//	the body, any JSON     the event's payload
package hook

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"inturn/functions"
)

// Function takes signed webhooks. secrets returns the signing secrets of an account,
// as "whsec_" and base64: all that are good now, so that one can follow another
// without a gap. Where there are none nobody can send for the account. It is asked
// for every request and must not block.
func Function(secrets func(clientID string) []string) functions.Function {
	return functions.HTTP("POST /v1/hooks/{client_id}/{type}", func(r *http.Request) (functions.Event, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return functions.Event{}, fmt.Errorf("body: %w", err)
		}
		clientID := r.PathValue("client_id")
		if err := verify(secrets(clientID), body, r.Header); err != nil {
			return functions.Event{}, functions.Unauthorized(err)
		}
		return functions.Event{
			ClientID:  clientID,
			MessageID: r.Header.Get(standardwebhooks.HeaderWebhookID),
			Type:      r.PathValue("type"),
			Payload:   body,
		}, nil
	})
}

var errSignature = errors.New("webhook-signature fits no secret of this client_id")

// verify accepts what one of the secrets has signed. What it says must not tell
// whether there are any.
func verify(secrets []string, body []byte, h http.Header) error {
	for _, name := range []string{standardwebhooks.HeaderWebhookID, standardwebhooks.HeaderWebhookTimestamp, standardwebhooks.HeaderWebhookSignature} {
		if len(h.Values(name)) != 1 {
			return fmt.Errorf("%s must be sent, once", name)
		}
	}
	err := errSignature
	for _, secret := range secrets {
		wh, werr := standardwebhooks.NewWebhook(secret)
		if werr != nil {
			continue // whoever reads the file of secrets refuses such a one
		}
		switch werr = wh.Verify(body, h); {
		case werr == nil:
			return nil
		case errors.Is(werr, standardwebhooks.ErrMessageTooOld), errors.Is(werr, standardwebhooks.ErrMessageTooNew):
			err = errors.New("webhook-timestamp is more than 5 minutes away from this server's clock")
		case errors.Is(werr, standardwebhooks.ErrInvalidHeaders):
			err = errors.New("webhook-timestamp must be Unix seconds")
		}
	}
	return err
}
