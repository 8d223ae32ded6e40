package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// item is one event of the file.
type item struct {
	line                int // where it begins, from 1
	clientID, messageID string
	body                []byte // JSON, as it is sent
}

// maxLine bounds a line of NDJSON, in bytes; the server's own bound is lower.
const maxLine = 64 << 20

var csvHeader = []string{"client_id", "message_id", "type", "payload"}

// readItems gives the events of a file, in order. NDJSON begins with a brace.
func readItems(ctx context.Context, r io.Reader, items chan<- item) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	give := func(it item) error {
		select {
		case items <- it:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if bom, _ := buffered.Peek(3); string(bom) == "\ufeff" {
		_, _ = buffered.Discard(3) // it was just peeked
	}
	for {
		first, err := buffered.Peek(1)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case first[0] == '{':
			return readLines(buffered, give)
		case strings.IndexByte(" \t\r\n", first[0]) < 0:
			return readCSV(buffered, give)
		}
		_, _ = buffered.Discard(1)
	}
}

func readLines(r *bufio.Reader, give func(item) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var id struct {
			ClientID  string `json:"client_id"`
			MessageID string `json:"message_id"`
		}
		if err := jsonv2.Unmarshal(text, &id); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := give(item{n, id.ClientID, id.MessageID, bytes.Clone(text)}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

func readCSV(r io.Reader, give func(item) error) error {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	const form = "the file must be CSV with the header client_id,message_id,type,payload (see `inturn generate`), or NDJSON: one JSON object a line"
	header, err := rows.Read()
	if err != nil {
		return &Hint{Err: fmt.Errorf("the first line is no CSV: %w", err), Hint: form}
	}
	if !slices.Equal(header, csvHeader) {
		return &Hint{Err: fmt.Errorf("the first line is %.100q", header), Hint: form}
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := rows.FieldPos(0)
		it := item{line: line, clientID: row[0], messageID: row[1]}
		if it.body, err = eventOf(row); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if err := give(it); err != nil {
			return err
		}
	}
}

// eventOf makes the JSON of a row.
func eventOf(row []string) ([]byte, error) {
	payload := jsontext.Value(row[3])
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	return jsonv2.Marshal(struct {
		ClientID  string         `json:"client_id"`
		MessageID string         `json:"message_id"`
		Type      string         `json:"type,omitzero"`
		Payload   jsontext.Value `json:"payload"`
	}{row[0], row[1], row[2], payload})
}

// checkPayload returns an error if payload is not one JSON value that every reader
// understands alike.
func checkPayload(payload jsontext.Value) error {
	err := jsonv2.Unmarshal(payload, new(jsontext.Value))
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok && wrong.Err == jsontext.ErrDuplicateName {
		return fmt.Errorf("payload has two members %s: %w", wrong.JSONPointer, wrong.Err)
	}
	if err != nil {
		return errors.New("payload is not JSON")
	}
	return nil
}
