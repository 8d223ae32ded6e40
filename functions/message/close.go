package message

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"inturn/functions"
	"inturn/functions/message/q"
)

// Close handles events of type "dialog.close". It uses Function's tables, so the
// two are listed together.
var Close = functions.New("dialog.close", workClose, functions.Pure(), functions.PerAccount(), functions.PayloadSchema(closingSchema))

const closingSchema = `{"type":"object","required":["phone"],"properties":{"phone":{"type":"string","pattern":"^\\+[0-9]{7,15}$"}}}`

// Closing is the payload of dialog.close.
type Closing struct {
	Phone string `json:"phone"` // as in Message
}

// Closed is the result of dialog.close.
type Closed struct {
	Dialog *int64 `json:"dialog"` // the one that was ended, null if none was active
}

// Check refuses a payload at the door, naming the field.
func (c *Closing) Check() error { return checkPhone(c.Phone) }

func workClose(_ context.Context, ev functions.Event, c Closing) (functions.Effect, error) {
	return func(tx functions.Tx) (any, error) {
		return closeDialog(tx.Context(), q.New(tx), ev, c)
	}, nil
}

func closeDialog(ctx context.Context, rows *q.Queries, ev functions.Event, c Closing) (Closed, error) {
	id, err := rows.CloseDialog(ctx, q.CloseDialogParams{
		ClosedAt:         sql.NullInt64{Int64: ev.ReceivedAt.UnixMicro(), Valid: true},
		ExternalClientID: ev.ClientID,
		ClientPhone:      c.Phone,
	})
	if errors.Is(err, sql.ErrNoRows) {
		return Closed{}, nil
	}
	if err != nil {
		return Closed{}, fmt.Errorf("close dialog: %w", err)
	}
	return Closed{Dialog: &id}, nil
}
