package webhook_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"inturn/functions"
	"inturn/functions/webhook"
)

// An endpoint is a function: its answer is the event's result.
func Example() {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(body))
		io.WriteString(w, `{"greeting":"hello"}`)
	}))
	defer endpoint.Close()

	targets, err := webhook.ParseTargets([]string{"greet=" + endpoint.URL}, false)
	if err != nil {
		panic(err)
	}
	hooks, err := webhook.New(targets, webhook.Options{
		MaxConcurrent: 64, Timeout: 30 * time.Second, Epoch: func() int64 { return 1 }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	defer hooks.Close()

	greet := hooks.Functions()[0]
	effect, err := greet.Work(context.Background(), functions.Event{
		ClientID: "Anna Müller", MessageID: "1", Type: "greet", Payload: []byte(`{"name":"Anna"}`), Run: 1, Attempt: 1,
		ReceivedAt: time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC),
	})
	if err != nil {
		panic(err)
	}
	result, err := effect(nil) // on an engine, in the settling transaction
	fmt.Printf("%s %v\n", result, err)
	// Output:
	// {"specversion":"1.0","id":"1","source":"urn:inturn:account:Anna%20M%C3%BCller","type":"greet","partitionkey":"Anna Müller","time":"2026-11-30T09:00:00Z","datacontenttype":"application/json","data":{"name":"Anna"}}
	// {"greeting":"hello"} <nil>
}

func ExampleParseTargets() {
	for _, spec := range []string{"order=https://shop.example/events", "order=http://shop.example/events", "order", "order=https://10.0.0.1/"} {
		targets, err := webhook.ParseTargets([]string{spec}, false)
		fmt.Println(len(targets), err)
	}
	// Output:
	// 1 <nil>
	// 0 function "order": plain http:// beyond loopback would show the events to anybody on the way: use https://, or say --insecure-functions
	// 0 function 1: must be TYPE=URL, such as order=https://shop.example/events
	// 0 function "order": the address 10.0.0.1 is private: say --insecure-functions if that is meant
}

// A secret that no type asks for is misspelled.
func ExampleSecrets() {
	targets, err := webhook.ParseTargets([]string{"order=https://shop.example/events"}, false)
	if err != nil {
		panic(err)
	}
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	secrets, err := webhook.Secrets([]string{"INTURN_FUNCTION_SECRET_ORDER=" + secret}, targets)
	fmt.Println(len(secrets["order"]), err)
	_, err = webhook.Secrets([]string{"INTURN_FUNCTION_SECRET_ODER=" + secret}, targets)
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// INTURN_FUNCTION_SECRET_ODER: there is no --function of this type
}
