package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"inturn/cli"
	"inturn/functions"
	"inturn/functions/work"
	"inturn/serve"
)

// The main function of a program of one's own: serve.Main has the commands, the flags, the
// signals and the exit status.
func ExampleMain() {
	type greeting struct {
		Name string `json:"name"`
	}
	greet := functions.New("greet", func(_ context.Context, _ functions.Event, g greeting) (functions.Effect, error) {
		if g.Name == "" {
			return nil, functions.Reject(errors.New("nobody to greet"))
		}
		return nil, nil
	})

	serve.Main(greet)
}

// A server as a value, on free ports, until its context ends.
func ExampleServer() {
	dir, err := os.MkdirTemp("", "inturn-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	config, err := serve.ParseConfig("--db", filepath.Join(dir, "inturn.db"), "--tls", "off", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := functions.NewSet(work.Function)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	server, err := serve.New(ctx, config, set, cli.IO{Out: io.Discard, Err: io.Discard})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	resp, err := http.Post("http://"+server.Addr().Public+"/v1/events", "application/json",
		strings.NewReader(`{"client_id":"anna","message_id":"1","type":"work","payload":{"ms":1}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	http.DefaultClient.CloseIdleConnections()
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// 202 Accepted
	// ended: <nil>
}
