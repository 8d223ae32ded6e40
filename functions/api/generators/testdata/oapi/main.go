// Command oapi posts an event twice with the client that oapi-codegen has made beside it, in
// package client, to the server at its argument, and prints what came of it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"inturn/functions/api/generators/testdata/oapi/client"
)

func main() {
	c, err := client.NewClientWithResponses(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	id, typ := client.ID("1"), "dialog.close"
	var body client.EventOrBatch
	if err := body.FromEvent(client.Event{ClientId: "oapi", MessageId: &id, Type: &typ, Payload: map[string]any{"phone": "+70000000002"}}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		wait := "wait=30"
		a, err := c.PostEventsWithResponse(context.Background(), &client.PostEventsParams{Prefer: &wait}, body)
		if err != nil {
			log.Fatal(err)
		}
		if a.JSON200 == nil {
			log.Fatalf("%s: %s", a.Status(), a.Body)
		}
		r, err := a.JSON200.AsReceipt()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.ClientId, r.MessageId, r.Seq, r.State, r.Duplicate)
	}
}
