package sqlite

import (
	"inturn/db/sqlite/internal/conn"
	"inturn/db/sqlite/internal/q"
)

// hot are the statements that run for every event and every group. Each has the
// parameters of the generated one of the same name, in the order of its text.
type hot struct {
	epoch, counters, repeated                             *conn.Stmt
	outbox, pending, unpend, unpendRange, result, history *conn.Stmt
}

func prepareHot(c *conn.Conn) (s hot, err error) {
	for _, one := range []struct {
		to   **conn.Stmt
		text string
	}{
		{&s.epoch, q.Epoch}, {&s.counters, q.SaveCounters}, {&s.outbox, q.InsertOutbox}, {&s.pending, q.InsertPending}, {&s.unpend, q.DeletePending},
		{&s.unpendRange, q.DeletePendingRange}, {&s.repeated, q.Repeated},
		{&s.result, q.InsertResult}, {&s.history, q.InsertHistory},
	} {
		if *one.to, err = c.Prepare(one.text); err != nil {
			s.close()
			return hot{}, err
		}
	}
	return s, nil
}

func (s *hot) close() {
	for _, one := range []*conn.Stmt{s.epoch, s.counters, s.repeated, s.outbox, s.pending, s.unpend, s.unpendRange, s.result, s.history} {
		one.Close()
	}
}

func (s *hot) readEpoch() (int64, error) { return s.epoch.Number() }

func (s *hot) saveCounters(p q.SaveCountersParams) error {
	_, err := s.counters.Exec(conn.Int(p.NextSeq), conn.Int(p.NextSettled), conn.Int(p.Pending))
	return err
}

func (s *hot) findRepeated(p q.RepeatedParams) (int64, error) {
	at := conn.Null()
	if p.DeliverAt.Valid {
		at = conn.Int(p.DeliverAt.Int64)
	}
	return s.repeated.Number(conn.Text(p.Type), conn.Text(p.Payload), at, conn.Text(p.ClientID), conn.Text(p.MessageID))
}

func (s *hot) insertOutbox(p q.InsertOutboxParams) (int64, error) {
	return s.outbox.Exec(conn.Int(p.Seq), conn.Text(p.ClientID), conn.Text(p.MessageID), conn.Text(p.Type), conn.Text(p.Payload),
		conn.Int(p.ReceivedAt), conn.Text(p.RequestID), conn.Nullable(p.Attrs))
}

func (s *hot) insertPending(p q.InsertPendingParams) error {
	_, err := s.pending.Exec(conn.Text(p.ClientID), conn.Int(p.Turn), conn.Int(p.Seq), conn.Int(p.Run))
	return err
}

func (s *hot) deletePending(p q.DeletePendingParams) (int64, error) {
	return s.unpend.Exec(conn.Text(p.ClientID), conn.Int(p.Turn), conn.Int(p.Seq), conn.Int(p.Run))
}

func (s *hot) deletePendingRange(p q.DeletePendingRangeParams) (int64, error) {
	return s.unpendRange.Exec(conn.Text(p.ClientID), conn.Int(p.First), conn.Int(p.Last))
}

func (s *hot) insertResult(p q.InsertResultParams) error {
	_, err := s.result.Exec(conn.Int(p.Seq), conn.Int(p.Run), conn.Int(p.Turn), conn.Int(p.Settled), conn.Text(p.Status), conn.Int(p.Attempts),
		conn.Int(p.StartedAt), conn.Int(p.FinishedAt), conn.Nullable(p.Output), conn.Nullable(p.Error))
	return err
}

func (s *hot) insertHistory(p q.InsertHistoryParams) error {
	_, err := s.history.Exec(conn.Text(p.ClientID), conn.Int(p.Seq))
	return err
}
