// Package message keeps chats: an incoming message finds or creates its client, the
// client's active dialog and itself, in the transaction that settles its event.
// dialog.close ends the active dialog; the next message opens another.
//
// What keeps concurrent messages of one client from creating two dialogs is the
// order of the account: effects of one client_id run one after another. Should
// that ever fail, the unique indexes of tables.sql refuse the second one.
package message

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"inturn/functions"
	"inturn/functions/message/q"
)

// tables makes the function's tables.
//
//go:embed tables.sql
var tables string

// tablesPostgres makes the same on PostgreSQL.
//
//go:embed tables_postgres.sql
var tablesPostgres string

// Function handles events of type "message". It is Pure: what it writes depends on
// the event alone, and the rest is decided in the effect.
var Function = functions.New("message", work,
	append(slices.Concat(invariants, invariantsPostgres), functions.Pure(), functions.PerAccount(), functions.PayloadSchema(schema), functions.Tables(1, tables), functions.TablesOn("postgres", 1, tablesPostgres),
		functions.Erase("messages", "SELECT id FROM messages WHERE client IN (SELECT id FROM clients WHERE external_client_id = :client_id)"),
		functions.Erase("dialogs", "SELECT id FROM dialogs WHERE client IN (SELECT id FROM clients WHERE external_client_id = :client_id)"),
		functions.Erase("clients", "SELECT id FROM clients WHERE external_client_id = :client_id"),
	)...)

// schema is what Check asks, as far as JSON Schema can say it.
const schema = `{"type":"object","required":["phone","text"],"properties":{"phone":{"type":"string","pattern":"^\\+[0-9]{7,15}$"},"text":{"type":"string","minLength":1,"maxLength":65536}}}`

// MaxText bounds a message's text, in characters. Chat services stop at a few
// thousand; the bound is there so that one event can't fill a lane.
const MaxText = 65536

// Message is the payload.
type Message struct {
	Phone string `json:"phone"` // the sender's: + and 7 to 15 digits, as E.164 writes it
	Text  string `json:"text"`  // 1 to MaxText characters
}

// Written is the result: the ids of the rows that were found or created.
type Written struct {
	Client  int64 `json:"client"`
	Dialog  int64 `json:"dialog"`
	Message int64 `json:"message"`
}

// Check refuses a payload at the door, naming the field.
func (m *Message) Check() error {
	if err := checkPhone(m.Phone); err != nil {
		return err
	}
	switch {
	case m.Text == "":
		return functions.Field("text", "is missing or empty")
	case utf8.RuneCountInString(m.Text) > MaxText:
		return functions.Field("text", fmt.Sprintf("is longer than %d characters", MaxText))
	case strings.ContainsRune(m.Text, 0):
		// SQLite's own functions take it for the end of the text.
		return functions.Field("text", "must not contain U+0000")
	}
	return nil
}

// checkPhone is as strict as E.164 (section 6: at most 15 digits) without knowing
// the numbering plans.
func checkPhone(phone string) error {
	digits, plus := strings.CutPrefix(phone, "+")
	if !plus || len(digits) < 7 || len(digits) > 15 || strings.Trim(digits, "0123456789") != "" {
		return functions.Field("phone", "must be + and 7 to 15 digits, such as +70000000001")
	}
	return nil
}

func work(_ context.Context, ev functions.Event, m Message) (functions.Effect, error) {
	return func(tx functions.Tx) (any, error) {
		return write(tx.Context(), q.New(tx), ev, m)
	}, nil
}

// errOtherText: retention has deleted the event that was accepted under this message_id, and
// its message is still there.
var errOtherText = errors.New("the dialog has a message with this message_id and another text")

// write finds or creates the client, its active dialog and the message. For a
// client that is known it is one read, which dirties nothing, and one insert.
func write(ctx context.Context, rows *q.Queries, ev functions.Event, m Message) (Written, error) {
	now := ev.ReceivedAt.UnixMicro()
	var w Written
	found, err := rows.FindDialog(ctx, q.FindDialogParams{ExternalClientID: ev.ClientID, ClientPhone: m.Phone})
	switch {
	case err == nil:
		w.Client = found.Client
	case errors.Is(err, sql.ErrNoRows):
		w.Client, err = rows.AddClient(ctx, q.AddClientParams{ExternalClientID: ev.ClientID, ClientPhone: m.Phone})
		if err != nil {
			return w, fmt.Errorf("add client: %w", err)
		}
	default:
		return w, fmt.Errorf("find client: %w", err)
	}

	w.Dialog = found.Dialog.Int64
	if !found.Dialog.Valid {
		w.Dialog, err = rows.OpenDialog(ctx, q.OpenDialogParams{Client: w.Client, OpenedAt: now})
		if err != nil {
			return w, fmt.Errorf("open dialog: %w", err)
		}
	}

	added, err := rows.AddMessage(ctx, q.AddMessageParams{
		Client: w.Client, Dialog: w.Dialog, MessageID: ev.MessageID, Text: m.Text, ReceivedAt: now,
	})
	if err != nil {
		return w, fmt.Errorf("add message: %w", err)
	}
	n, err := added.RowsAffected()
	switch {
	case err != nil:
	case n == 0: // another run of an event that was done before, or retention has taken that event
		var there q.FindMessageRow
		there, err = rows.FindMessage(ctx, q.FindMessageParams{MessageID: ev.MessageID, Dialog: w.Dialog})
		if w.Message = there.ID; err == nil && there.Text != m.Text {
			return w, functions.Reject(errOtherText)
		}
	default:
		w.Message, err = added.LastInsertId()
	}
	if err != nil {
		return w, fmt.Errorf("find message: %w", err)
	}
	return w, nil
}
