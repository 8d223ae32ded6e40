package functions_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"inturn/functions"
)

// Order is a payload.
type Order struct {
	SKU string `json:"sku"`
}

// Check is asked at the door, before an event is accepted.
func (o *Order) Check() error {
	if o.SKU == "" {
		return functions.Field("sku", "must not be empty")
	}
	return nil
}

var errNotInStock = errors.New("it is not in stock")

// A function works on an event outside any transaction, and returns what is to be
// written, or an error that says what becomes of the event.
func ExampleNew() {
	f := functions.New("order", func(ctx context.Context, ev functions.Event, o Order) (functions.Effect, error) {
		switch o.SKU {
		case "tea":
			return func(tx functions.Tx) (any, error) {
				_, err := tx.ExecContext(tx.Context(), "INSERT INTO orders (client_id, sku) VALUES (?, ?)", ev.ClientID, o.SKU)
				return map[string]string{"ordered": o.SKU}, err
			}, nil
		case "coffee":
			return nil, functions.Retry(time.Minute, errNotInStock)
		}
		return nil, functions.Reject(fmt.Errorf("there is no %s", o.SKU))
	},
		functions.Tables(1, "CREATE TABLE orders (client_id TEXT NOT NULL, sku TEXT NOT NULL) STRICT"),
		functions.MaxConcurrent(16),
		functions.WithPolicy(functions.Policy{Attempts: 5, Exhausted: functions.ThenDead}),
	)
	for _, payload := range []string{`{"sku":"tea"}`, `{"sku":"coffee"}`, `{"sku":"gold"}`} {
		effect, err := f.Work(context.Background(), functions.Event{Payload: []byte(payload)})
		fmt.Println(effect != nil, err)
	}
	// Output:
	// true <nil>
	// false it is not in stock
	// false there is no gold
}

// A payload is decoded and checked before its event is accepted. The error names the
// field, and so does the answer to the sender.
func ExampleSet_Check() {
	set, err := functions.NewSet(functions.New("order", func(context.Context, functions.Event, Order) (functions.Effect, error) { return nil, nil }))
	if err != nil {
		panic(err)
	}
	for _, ev := range []functions.Event{
		{ClientID: "anna", MessageID: "1", Type: "order", Payload: []byte(`{"sku":"tea"}`)},
		{ClientID: "anna", MessageID: "2", Type: "order", Payload: []byte(`{"sku":""}`)},
		{ClientID: "anna", MessageID: "3", Type: "order", Payload: []byte(`{"sku":7}`)},
		{ClientID: "anna", MessageID: "4", Type: "oder", Payload: []byte(`{"sku":"tea"}`)},
		{ClientID: "anna", Type: "order", Payload: []byte(`{"sku":"tea"}`)},
	} {
		_, err := set.Check(ev)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// payload/sku: must not be empty
	// payload/sku: must be a string, not this number
	// type: there is no function for type "oder"
	// message_id: is missing or empty
}

// An error that wraps Reject's is one too.
func ExampleReject() {
	err := fmt.Errorf("order 7: %w", functions.Reject(errors.New("the card is stolen")))
	_, rejected := errors.AsType[*functions.RejectError](err)
	fmt.Println(err, rejected)
	// Output: order 7: the card is stolen true
}

func ExampleRetry() {
	err := functions.Retry(30*time.Second, errNotInStock)
	retry, _ := errors.AsType[*functions.RetryError](err)
	fmt.Println(retry.After, errors.Is(err, errNotInStock))
	// Output: 30s true
}

// Zero fields have their defaults; what is out of bounds is named.
func ExamplePolicy_Validate() {
	fmt.Println(functions.Policy{Attempts: 3, MaxBackoff: time.Minute}.Validate())
	fmt.Println(functions.Policy{InitialBackoff: time.Hour, MaxBackoff: time.Minute}.Validate())
	fmt.Println(functions.Policy{Jitter: 2}.Validate())
	// Output:
	// <nil>
	// policy: MaxBackoff is 1m0s: must not be less than InitialBackoff, which is 1h0m0s
	// policy: Jitter is 2: must be at most 1, or negative for none
}

// An HTTP function makes an event of the request of a sender whose body isn't ours. It
// decides itself who may send.
func ExampleHTTP() {
	f := functions.HTTP("POST /hooks/shop/{client_id}", func(r *http.Request) (functions.Event, error) {
		if r.Header.Get("Shop-Key") != "secret" { // better a signature, compared in constant time
			return functions.Event{}, functions.Unauthorized(errors.New("the key is wrong"))
		}
		return functions.Event{
			ClientID: r.PathValue("client_id"), MessageID: r.Header.Get("Shop-Delivery"), Type: "order", Payload: []byte(`{"sku":"tea"}`),
		}, nil
	})
	pattern, event := f.HTTP()
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		ev, err := event(r)
		fmt.Println(ev.ClientID, ev.MessageID, err)
	})
	r := httptest.NewRequest("POST", "/hooks/shop/anna", nil)
	mux.ServeHTTP(httptest.NewRecorder(), r)
	r.Header.Set("Shop-Key", "secret")
	r.Header.Set("Shop-Delivery", "d-17")
	mux.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	//   the key is wrong
	// anna d-17 <nil>
}

func ExampleCompactJSON() {
	for _, text := range []string{`{ "a" : 1.50 }`, `{"a":1,"a":2}`, `"\ud800"`} {
		compact, err := functions.CompactJSON([]byte(text))
		fmt.Println(string(compact), err)
	}
	// Output:
	// {"a":1.50} <nil>
	//  is not valid JSON: duplicate object member name
	//  is not valid JSON: invalid surrogate pair `\ud800"` in string
}
