package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"inturn/functions"
	"inturn/functions/cloudevents"
)

// maxEmitted bounds an answer of events, in bytes.
const maxEmitted = 1 << 20

// answerMode is how an answer of 2xx is read.
type answerMode int

const (
	asResult answerMode = iota
	asEvent             // one CloudEvent
	asBatch             // an array of CloudEvents
	asBinary            // one, whose attributes are headers
)

func modeOf(h http.Header) answerMode {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case kind == cloudevents.MediaType:
		return asEvent
	case kind == cloudevents.BatchMediaType:
		return asBatch
	case cloudevents.IsBinary(h):
		return asBinary
	}
	return asResult
}

// decodeEmitted returns the events that the answer to parent is. They are in the account
// that their partitionkey names, else in parent's, under their own id; their type, as any
// event's, is one that has a function. Their other attributes are kept.
func decodeEmitted(mode answerMode, h http.Header, body []byte, parent functions.Event) ([]functions.Event, error) {
	if len(body) > maxEmitted {
		return nil, fmt.Errorf("with more than the %d bytes that events may have together", maxEmitted)
	}
	var came []cloudevents.Event
	var err error
	switch mode {
	case asBatch:
		came, err = cloudevents.DecodeBatch(body, functions.MaxEmit)
	case asBinary:
		came, err = one(cloudevents.DecodeBinary(h, body))
	default:
		came, err = one(cloudevents.Decode(body))
	}
	if err != nil {
		return nil, fmt.Errorf("with what is no CloudEvent: %w", err)
	}
	events := make([]functions.Event, len(came))
	for i, e := range came {
		ev := functions.Event{ClientID: e.PartitionKey, MessageID: e.ID, Type: e.Type, Payload: json.RawMessage("null")}
		if ev.ClientID == "" {
			ev.ClientID = parent.ClientID
		}
		if e.Data != nil {
			if ev.Payload, err = functions.CompactJSON(e.Data); err != nil {
				return nil, fmt.Errorf("with a CloudEvent %.100q whose data %w", e.ID, err)
			}
		}
		if ev.Attrs, err = withTrace(e.Attrs, parent.Attrs); err != nil {
			return nil, err
		}
		events[i] = ev
	}
	return events, nil
}

func one(e cloudevents.Event, err error) ([]cloudevents.Event, error) {
	return []cloudevents.Event{e}, err
}

// withTrace returns attrs with the trace of parent's, if they have none of their own.
func withTrace(attrs, parent json.RawMessage) (json.RawMessage, error) {
	own, err := readAttributes(attrs)
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	from, err := readAttributes(parent)
	if err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	t := from.trace()
	if own.text["traceparent"] != "" {
		t = trace{}
	}
	attrs = bytes.TrimSuffix(attrs, []byte("}"))
	for _, a := range []struct{ name, value string }{{"traceparent", t.parent}, {"tracestate", t.state}} {
		if a.value != "" && own.text[a.name] == "" {
			attrs = append(attrs, `,"`+a.name+`":`...)
			attrs, _ = jsontext.AppendQuote(attrs, a.value)
		}
	}
	return append(attrs, '}'), nil
}

// receipt is what the result says of an emitted event, as the API would.
type receipt struct {
	ClientID  string `json:"client_id"`
	MessageID string `json:"message_id"`
	Seq       int64  `json:"seq"`
	State     string `json:"state"`
	Duplicate bool   `json:"duplicate"`
}

// emit returns the effect that appends events: its result is their receipts.
func emit(events []functions.Event) functions.Effect {
	return func(tx functions.Tx) (any, error) {
		receipts := make([]receipt, len(events))
		for i, ev := range events {
			r, err := tx.EmitReceipt(ev)
			if err != nil {
				return nil, fmt.Errorf("the endpoint answered with an event that can't be taken: %w", err)
			}
			receipts[i] = receipt{r.ClientID, r.MessageID, r.Seq, string(r.State), r.Duplicate}
		}
		return receipts, nil
	}
}
