package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"inturn/client"
)

// A server's own answer is one of many; here a server stands for it.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"client_id":"alice","message_id":"1","seq":17,"state":"done","duplicate":false,"result":{"order":1}}`)
	}))
	defer server.Close()

	c, err := client.New(server.URL, client.Options{Token: os.Getenv("INTURN_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	receipt, err := c.Wait(context.Background(), client.Event{
		ClientID: "alice", MessageID: "1", Type: "order", Payload: []byte(`{"sku":"tea"}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Seq, receipt.State, string(receipt.Result))
	// Output: 17 done {"order":1}
}

// An endpoint believes inturn alone, and has a mail follow each payment.
func ExampleVerify() {
	endpoint := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call, err := client.Verify(r, os.Getenv("INTURN_FUNCTION_SECRET"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		if err := client.Emit(w, client.Event{MessageID: "mail-" + call.ID, Type: "mail", Payload: call.Data}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	w := httptest.NewRecorder()
	endpoint.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"id":"1","type":"payment","data":{}}`)))
	fmt.Println(w.Code, w.Body)
	// Output: 401 the signature is missing, wrong or too old
}
