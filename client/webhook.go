package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Call is an event as inturn gives it to a webhook function: a CloudEvent in JSON. ID is
// its message_id and PartitionKey its client_id, unless it came to inturn as a CloudEvent,
// whose ID and Source it then has.
type Call struct {
	ID           string          `json:"id"`
	Source       string          `json:"source"`
	Type         string          `json:"type"`
	PartitionKey string          `json:"partitionkey"`
	Time         time.Time       `json:"time"`
	Data         json.RawMessage `json:"data"`

	// DeliveryID is the webhook-id: the same whenever this run of the event is sent again.
	DeliveryID string `json:"-"`
}

// clockSkew is how far a signature's time may be from this machine's.
const clockSkew = 5 * time.Minute

// maxCall bounds the body of a call, in bytes.
const maxCall = 16 << 20

// ErrSignature is returned for a call that is not inturn's, or not a recent one: it is to
// be answered 401.
var ErrSignature = errors.New("the signature is missing, wrong or too old")

// Verify reads a call and verifies its signature (Standard Webhooks) by one of the
// secrets, each whsec_ and base64. Errors: ErrSignature; that of a body that can't be
// read, or is no CloudEvent; that of a secret that is none.
func Verify(r *http.Request, secrets ...string) (Call, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxCall+1))
	if err != nil {
		return Call{}, fmt.Errorf("read the call: %w", err)
	}
	if len(body) > maxCall {
		return Call{}, fmt.Errorf("the call has more than %d bytes", maxCall)
	}
	if err := verify(r.Header, body, secrets, time.Now()); err != nil {
		return Call{}, err
	}
	c := Call{DeliveryID: r.Header.Get("Webhook-Id")}
	if err := jsonv2.Unmarshal(body, &c); err != nil {
		return Call{}, fmt.Errorf("the call is no CloudEvent: %w", err)
	}
	return c, nil
}

// verify follows Standard Webhooks, "Verifying webhook authenticity".
func verify(h http.Header, body []byte, secrets []string, now time.Time) error {
	id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(seconds, 0)).Abs() > clockSkew {
		return ErrSignature
	}
	given := strings.Fields(h.Get("Webhook-Signature"))
	good := false
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return fmt.Errorf("secret %d is not whsec_ and base64", i+1)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + at + "."))
		mac.Write(body)
		want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for _, signature := range given {
			good = hmac.Equal(want, []byte(signature)) || good
		}
	}
	if !good {
		return ErrSignature
	}
	return nil
}

// Emit answers a call with events: inturn appends the events in the transaction that settles the
// call's event, and their receipts are its result. An event without a ClientID is of the
// same account; each must have a MessageID, which makes a call that is repeated emit
// nothing twice.
func Emit(w http.ResponseWriter, events ...Event) error {
	type cloudEvent struct {
		SpecVersion  string         `json:"specversion"`
		ID           string         `json:"id"`
		Source       string         `json:"source"`
		Type         string         `json:"type"`
		PartitionKey string         `json:"partitionkey,omitzero"`
		Data         jsontext.Value `json:"data"`
	}
	batch := make([]cloudEvent, len(events))
	for i, ev := range events {
		if ev.MessageID == "" || ev.Type == "" {
			return fmt.Errorf("client: event %d has no MessageID or no Type", i+1)
		}
		batch[i] = cloudEvent{"1.0", ev.MessageID, "emitted", ev.Type, ev.ClientID, jsontext.Value(ev.Payload)}
	}
	body, err := jsonv2.Marshal(batch)
	if err != nil {
		return fmt.Errorf("client: the events can't be written as JSON: %w", err)
	}
	w.Header().Set("Content-Type", "application/cloudevents-batch+json")
	_, err = w.Write(body)
	return err
}
