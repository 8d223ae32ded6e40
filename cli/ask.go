package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// asker sends requests to a server's API, one after another.
type asker struct {
	client *http.Client
	base   string
}

// asker returns an asker for the server of c. Its caller closes it.
func (c Client) asker() (*asker, error) {
	client, err := c.HTTP()
	if err != nil {
		return nil, err
	}
	return &asker{client: client, base: strings.TrimRight(c.URL, "/")}, nil
}

func (a *asker) close() { a.client.CloseIdleConnections() }

// refused is an answer with an error status, and its problem (RFC 9457).
type refused struct {
	status int
	name   string // the problem's, such as head-moved; "" where the answer is none
	seq    int64  // of the event that the problem speaks of, or 0
	text   string
}

func (r *refused) Error() string { return r.text }

// get requests path, which is escaped, and decodes the answer into answer.
func (a *asker) get(ctx context.Context, path string, answer any) error {
	return a.ask(ctx, http.MethodGet, path, nil, nil, answer)
}

// post sends body as JSON with key as its Idempotency-Key ("": a new one, with which
// net/http sends it again where a kept connection breaks), and reads the answer. Errors: *refused, with a hint where a person can do something about it, or
// why there was no answer.
func (a *asker) post(ctx context.Context, path, key string, body, answer any) error {
	return a.send(ctx, http.MethodPost, path, key, body, answer)
}

// send is post with another method.
func (a *asker) send(ctx context.Context, method, path, key string, body, answer any) error {
	if key == "" {
		key = rand.Text()
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.ask(ctx, method, path, http.Header{"Idempotency-Key": {strconv.Quote(key)}}, text, answer)
}

func (a *asker) ask(ctx context.Context, method, path string, header http.Header, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	maps.Copy(req.Header, header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return a.explain(ctx, err)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPageBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s: the answer was cut off: %w", a.base, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
		return a.refusal(resp, text)
	}
	if err := jsonv2.Unmarshal(text, answer); err != nil {
		return &Hint{Err: fmt.Errorf("%s: the answer can't be read: %w", a.base, err), Hint: "is this the address of an inturn of this version? see --url"}
	}
	return nil
}

// explain returns the reason why there was no answer, with a hint.
func (a *asker) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unreached(err)
}

func (a *asker) refusal(resp *http.Response, body []byte) error {
	var p struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Seq    int64  `json:"seq"`
	}
	r := &refused{status: resp.StatusCode, text: resp.Status}
	if jsonv2.Unmarshal(body, &p) == nil {
		r.name, r.seq = strings.TrimPrefix(p.Type, "urn:inturn:problem:"), p.Seq
		r.text = says(resp, p.Title, p.Detail)
	}
	switch {
	case isPlain(resp):
		return errPlain
	case resp.StatusCode == http.StatusUnauthorized:
		return &Hint{Err: r, Hint: "give a token with --token or INTURN_TOKEN"}
	case r.name == "forbidden":
		return &Hint{Err: r, Hint: "looking needs a token of scope read, changing one of scope operate: `inturn token new NAME --scope read --scope operate`"}
	case strings.HasSuffix(p.Detail, "nothing at this path"):
		return &Hint{Err: r, Hint: "--url must be the address of the server alone, such as https://localhost:8443, and not its --admin address"}
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return &Hint{Err: r, Hint: "redirects are not followed: name the server itself with --url"}
	}
	return r
}
