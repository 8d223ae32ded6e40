package cli

import (
	"context"
	"errors"
	"fmt"

	"inturn/client"
)

// streamSender sends events over one WebSocket, many before the first is answered.
type streamSender struct {
	client *client.Client
	tally  *tally
	items  <-chan item
	goOn   bool
}

func (s *streamSender) run(ctx context.Context) error {
	err := s.client.Stream(ctx, client.Stream{Next: s.next, Answered: s.answered, Continue: s.goOn})
	if closed, ok := errors.AsType[*client.ClosedError](err); ok {
		if it, ok := closed.Event.Tag.(*item); ok { // all before it are answered
			err = fmt.Errorf("line %d: %w", it.line, err)
		}
	}
	return err
}

func (s *streamSender) next(ctx context.Context) (client.Event, bool) {
	select {
	case it, ok := <-s.items:
		if !ok {
			return client.Event{}, false
		}
		return client.Event{ClientID: it.clientID, MessageID: it.messageID, Body: it.body, Tag: &it}, true
	case <-ctx.Done():
		return client.Event{}, false
	}
}

func (s *streamSender) answered(ev client.Event, r client.Receipt, p *client.Problem) {
	switch {
	case p == nil:
		s.tally.taken(r.Duplicate)
	case p.NotAttempted():
		s.tally.notAttempted()
	default:
		if it, ok := ev.Tag.(*item); ok {
			s.tally.refused(*it, p.Error())
		}
	}
}
