package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Variables of the environment. A secret in a flag would be in the list of processes.
const (
	secretOfAll  = "INTURN_FUNCTION_SECRET"
	secretOfType = secretOfAll + "_" // and the type, in capitals, anything but letters and digits as _
	maxSecrets   = 4
)

// Secrets reads the types' secrets from the environment (as os.Environ has it):
// INTURN_FUNCTION_SECRET_<TYPE>, else INTURN_FUNCTION_SECRET. A value is one or more,
// with a blank or comma between: all sign, so that one can follow another without a gap.
// A variable that no type asks for is an error: it is misspelled. No error has
// a secret in it.
func Secrets(environ []string, targets []Target) (map[string][]string, error) {
	given := map[string][]string{}
	for _, setting := range environ {
		name, value, _ := strings.Cut(setting, "=")
		if name != secretOfAll && !strings.HasPrefix(name, secretOfType) {
			continue
		}
		secrets := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' })
		if len(secrets) == 0 || len(secrets) > maxSecrets {
			return nil, fmt.Errorf("%s: must be 1 to %d secrets, with a blank between", name, maxSecrets)
		}
		for i, secret := range secrets {
			if !validSecret(secret) {
				return nil, fmt.Errorf("%s: secret %d must be whsec_ and 24 to 64 random bytes in base64", name, i+1)
			}
		}
		given[name] = secrets
	}
	secrets, asks := map[string][]string{}, map[string]string{secretOfAll: ""}
	for _, t := range targets {
		name := secretName(t.Type)
		if other, ok := asks[name]; ok && given[name] != nil {
			return nil, fmt.Errorf("%s: is the name for both %q and %q; rename one of them, or use %s for all", name, other, t.Type, secretOfAll)
		}
		asks[name] = t.Type
		if secrets[t.Type] = given[name]; given[name] == nil {
			secrets[t.Type] = given[secretOfAll]
		}
	}
	for name := range given {
		if _, ok := asks[name]; !ok {
			return nil, fmt.Errorf("%s: there is no --function of this type", name)
		}
	}
	return secrets, nil
}

func secretName(typ string) string {
	return secretOfType + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(typ))
}

// validSecret follows Standard Webhooks, "Signature scheme".
func validSecret(secret string) bool {
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	return ok && err == nil && len(key) >= 24 && len(key) <= 64
}

// signer signs with each of its keys. One without any leaves the signature out.
type signer []*standardwebhooks.Webhook

func newSigner(secrets []string) (signer, error) {
	var s signer
	for _, secret := range secrets {
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, errors.New("its secret is not whsec_ and base64") // not err, which may show it
		}
		s = append(s, wh)
	}
	return s, nil
}

// sign sets the headers of Standard Webhooks.
func (s signer) sign(h http.Header, id string, at time.Time, body []byte) error {
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	var all []string
	for _, wh := range s {
		signature, err := wh.Sign(id, at, body)
		if err != nil {
			return errors.New("sign: the secret can't be used")
		}
		all = append(all, signature)
	}
	if len(all) > 0 {
		h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(all, " "))
	}
	return nil
}
