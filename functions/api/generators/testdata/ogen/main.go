// Command ogen posts an event twice with the client that ogen has made beside it, in package
// client, to the server at its argument, and prints what came of it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ogen-go/ogen/ogenerrors"

	"inturn/functions/api/generators/testdata/ogen/client"
)

// anybody has no token.
type anybody struct{}

func (anybody) Token(context.Context, client.OperationName) (client.Token, error) {
	return client.Token{}, ogenerrors.ErrSkipClientSecurity
}

func main() {
	c, err := client.NewClient(os.Args[1], anybody{})
	if err != nil {
		log.Fatal(err)
	}
	ev := client.NewEventEventOrBatch(client.Event{ClientID: "ogen", MessageID: client.NewOptID("1"), Type: client.NewOptString("dialog.close"), Payload: client.JSON(`{"phone":"+70000000003"}`)})
	for range 2 {
		a, err := c.PostEvents(context.Background(), &ev, client.PostEventsParams{Prefer: client.NewOptString("wait=30")})
		if err != nil {
			log.Fatal(err)
		}
		ok, is := a.(*client.PostEventsOKApplicationJSON)
		if !is {
			log.Fatalf("the answer is a %T", a)
		}
		r := ok.Receipt
		fmt.Println(r.ClientID, r.MessageID, r.Seq, r.State, r.Duplicate)
	}
}
