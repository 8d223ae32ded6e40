package hook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const standardID = standardwebhooks.HeaderWebhookID

// newStandard verifies as Standard Webhooks says. The library has the time from the
// machine, so this verifier takes no other.
func newStandard(o Options) (verifier, error) {
	for _, secret := range o.Secrets {
		if !standardSecret(secret) {
			return nil, option("secret", "must be whsec_ and 24 to 64 random bytes in base64")
		}
	}
	return func(h http.Header, body []byte, _ time.Time) error { return verifyStandard(o.Secrets, h, body) }, nil
}

// standardSecret follows Standard Webhooks, "Signature scheme".
func standardSecret(secret string) bool {
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	return ok && err == nil && len(key) >= 24 && len(key) <= 64
}

// verifyStandard accepts what one of the secrets has signed.
func verifyStandard(secrets []string, h http.Header, body []byte) error {
	for _, name := range []string{standardID, standardwebhooks.HeaderWebhookTimestamp, standardwebhooks.HeaderWebhookSignature} {
		if _, err := header(h, name); err != nil {
			return err
		}
	}
	err := errors.New("webhook-signature fits no secret of this client_id")
	for _, secret := range secrets {
		wh, werr := standardwebhooks.NewWebhook(secret)
		if werr != nil {
			continue // what reads the secrets refuses such a one
		}
		switch werr = wh.Verify(body, h); {
		case werr == nil:
			return nil
		case errors.Is(werr, standardwebhooks.ErrMessageTooOld), errors.Is(werr, standardwebhooks.ErrMessageTooNew):
			err = errTime("webhook-timestamp")
		case errors.Is(werr, standardwebhooks.ErrInvalidHeaders):
			err = errors.New("webhook-timestamp must be Unix seconds")
		}
	}
	return err
}

// header returns the value of a header that must be sent, once.
func header(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", fmt.Errorf("%s must be sent, once", name)
	}
	return values[0], nil
}

func errTime(where string) error {
	return fmt.Errorf("%s is more than %v away from this server's clock", where, Tolerance)
}
