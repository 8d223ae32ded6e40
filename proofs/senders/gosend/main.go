// gosend posts two events to one account, one after the other, by the package that is
// named, and prints what came of the second: gosend FORM URL. The advised forms have the
// lines that docs/senders.md advises.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/go-resty/resty/v2"
	"github.com/hashicorp/go-retryablehttp"
)

func main() {
	post := map[string]func(url, id string) (int, error){
		"net/http":         func(url, id string) (int, error) { return plain(url, id, "") },
		"net/http advised": func(url, id string) (int, error) { return plain(url, id, id) },
		"retryablehttp":    retryable,
		"resty":            restyPost,
		"cloudevents":      event(nil),
		"cloudevents advised": event(func(ctx context.Context) context.Context {
			return cloudevents.ContextWithRetriesExponentialBackoff(ctx, 300*time.Millisecond, 8)
		}),
	}[os.Args[1]]
	for _, id := range []string{"1", "2"} {
		status, err := post(os.Args[2], id)
		if id == "2" {
			if err != nil && status == 0 {
				fmt.Println("error")
			} else {
				fmt.Println(status)
			}
		}
	}
}

func body(id string) []byte {
	return fmt.Appendf(nil, `{"client_id":"a","message_id":%q,"type":"work","payload":{}}`, id)
}

// finish reads an answer to its end, so that the connection is kept.
func finish(res *http.Response, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}

// plain posts by net/http, with an Idempotency-Key if there is one.
func plain(url, id, key string) (int, error) {
	req, err := http.NewRequest("POST", url, bytes.NewReader(body(id)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", strconv.Quote(key)) // a string of RFC 9651, so quoted
	}
	return finish(http.DefaultClient.Do(req))
}

var retrying = func() *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.Logger, c.RetryWaitMin = nil, 300*time.Millisecond
	return c
}()

func retryable(url, id string) (int, error) {
	return finish(retrying.Post(url, "application/json", body(id)))
}

var restyClient = resty.New().SetRetryCount(4).SetRetryWaitTime(300 * time.Millisecond)

func restyPost(url, id string) (int, error) {
	res, err := restyClient.R().SetHeader("Content-Type", "application/json").SetBody(body(id)).Post(url)
	if err != nil {
		return 0, err
	}
	return res.StatusCode(), nil
}

func event(with func(context.Context) context.Context) func(url, id string) (int, error) {
	client, err := cloudevents.NewClientHTTP()
	if err != nil {
		return func(string, string) (int, error) { return 0, err }
	}
	return func(url, id string) (int, error) {
		e := cloudevents.NewEvent()
		e.SetID(id)
		e.SetType("work")
		e.SetSource("/test")
		e.SetExtension("partitionkey", "a")
		if err := e.SetData("application/json", map[string]any{}); err != nil {
			return 0, err
		}
		ctx := cloudevents.ContextWithTarget(context.Background(), url)
		if with != nil {
			ctx = with(ctx)
		}
		result := client.Send(ctx, e)
		if cloudevents.IsACK(result) {
			return http.StatusAccepted, nil
		}
		return 0, result
	}
}
