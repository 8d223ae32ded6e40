// Command driver does what cases_test.go asks: driver MODE, with the rest as JSON on
// standard input.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"inturn/client"
)

// ask is what is asked.
type ask struct {
	URL, Token, CA string
	OnError        string `json:"on_error"`
	Patience       int
	Wait           int
	Events         []event
	Secrets        any
	Headers        map[string]string
	Body           string
}

type event struct {
	ClientID  string          `json:"client_id"`
	MessageID string          `json:"message_id"`
	Type      string          `json:"type"`
	Payload   json.RawMessage `json:"payload"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(what map[string]any) { _ = json.NewEncoder(os.Stdout).Encode(what) }

func run(mode string) error {
	var a ask
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	switch mode {
	case "verify":
		return verify(a)
	case "emit":
		w := httptest.NewRecorder()
		if err := client.Emit(w, a.events()...); err != nil {
			return err
		}
		say(map[string]any{"headers": map[string]string{"Content-Type": w.Header().Get("Content-Type")}, "body": w.Body.String()})
		return nil
	}
	err := send(mode, a)
	if p, ok := errors.AsType[*client.Problem](err); ok && !p.Temporary() {
		say(map[string]any{"error": "problem", "status": p.Status, "text": err.Error()})
		return nil
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	closed, denied := errors.AsType[*client.ClosedError](err)
	switch {
	case untrusted:
		say(map[string]any{"error": "certificate", "text": err.Error()})
	case denied:
		say(map[string]any{"error": "problem", "status": http.StatusUnauthorized, "text": closed.Error()})
	case errors.Is(err, errPatience):
		say(map[string]any{"error": "unreachable", "text": err.Error()})
	default:
		return err
	}
	return nil
}

var errPatience = errors.New("nothing was answered for long")

func (a ask) events() []client.Event {
	events := make([]client.Event, len(a.Events))
	for i, ev := range a.Events {
		events[i] = client.Event{ClientID: ev.ClientID, MessageID: ev.MessageID, Type: ev.Type, Payload: ev.Payload}
	}
	return events
}

func verify(a ask) error {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(a.Body))
	for name, value := range a.Headers {
		r.Header.Set(name, value)
	}
	var secrets []string
	switch s := a.Secrets.(type) {
	case string:
		secrets = []string{s}
	case []any:
		for _, one := range s {
			secrets = append(secrets, fmt.Sprint(one))
		}
	}
	call, err := client.Verify(r, secrets...)
	if errors.Is(err, client.ErrSignature) {
		say(map[string]any{"error": "signature", "text": err.Error()})
		return nil
	}
	if err == nil {
		say(map[string]any{"event": call})
	}
	return err
}

func send(mode string, a ask) error {
	ctx := context.Background()
	since := time.Now()
	patience := time.Duration(a.Patience) * time.Second
	if patience == 0 {
		patience = time.Minute
	}
	o := client.Options{Token: a.Token, Retrying: func(reason error) error {
		if time.Since(since) > patience {
			return fmt.Errorf("%w: %w", errPatience, reason)
		}
		return nil
	}}
	if a.CA != "" {
		pem, err := os.ReadFile(a.CA)
		if err != nil {
			return err
		}
		o.CA = pem
	}
	c, err := client.New(a.URL, o)
	if err != nil {
		return err
	}
	defer c.Close()
	said := func(ev client.Event, r client.Receipt, p *client.Problem) {
		since = time.Now()
		answered(ev, r, p)
	}
	events := a.events()
	switch mode {
	case "post":
		for _, ev := range events {
			post := c.Post
			if a.Wait > 0 {
				post = c.Wait
			}
			r, err := post(ctx, ev)
			p, refused := errors.AsType[*client.Problem](err)
			if err != nil && (!refused || p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden) {
				return err
			}
			said(ev, r, p)
		}
	case "batch":
		answers, err := c.Batch(ctx, events)
		for i, one := range answers {
			said(events[i], one.Receipt, one.Problem)
		}
		return err
	case "stream":
		next := 0
		return c.Stream(ctx, client.Stream{
			Next: func(context.Context) (client.Event, bool) {
				if next == len(events) {
					return client.Event{}, false
				}
				next++
				return events[next-1], true
			},
			Answered: said,
			Continue: a.OnError == "continue",
		})
	}
	return nil
}

func answered(ev client.Event, r client.Receipt, p *client.Problem) {
	if p != nil {
		say(map[string]any{"client_id": ev.ClientID, "message_id": ev.MessageID, "status": p.Status, "name": p.Name})
		return
	}
	b, _ := json.Marshal(r)
	var m map[string]any
	_ = json.Unmarshal(b, &m)
	say(m)
}
