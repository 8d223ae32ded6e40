package serve

import (
	"context"

	"inturn/page"
)

// newPage returns the page at the admin address. It asks the handler of the public address.
func (s *Server) newPage() *page.Page {
	return page.New(page.Options{
		API: s.handler, Tokens: s.tokens != nil, Log: s.log, Stopping: s.stopping,
		SQL: func(ctx context.Context, text string, limit int) (page.Rows, error) {
			rows, err := s.store.SQL(ctx, text, limit)
			return page.Rows(rows), err
		},
		Counters: func() page.Counters {
			accepted, done, dead := s.numbers.Totals()
			return page.Counters{Accepted: accepted, Done: done, Dead: dead}
		},
	})
}
