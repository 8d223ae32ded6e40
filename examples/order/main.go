// Command order is inturn with a function that takes orders.
package main

import (
	"context"
	"errors"

	"inturn/functions"
	"inturn/serve"
)

func main() { serve.Main(function) }

// function takes orders. A unique key contains the account, so that the database itself
// refuses doubles.
var function = functions.New("order", take,
	functions.Tables(1, `CREATE TABLE orders (
		id         INTEGER NOT NULL PRIMARY KEY,
		client_id  TEXT    NOT NULL,
		message_id TEXT    NOT NULL,
		sku        TEXT    NOT NULL,
		cents      INTEGER NOT NULL,
		UNIQUE (client_id, message_id)
	) STRICT`),
	functions.Erase("orders", "SELECT rowid FROM orders WHERE client_id = :client_id"),
)

// order is the payload.
type order struct {
	SKU string `json:"sku"`
}

// Check refuses at the door what could never be done, naming the field.
func (o *order) Check() error {
	if o.SKU == "" {
		return functions.Field("sku", "is missing or empty")
	}
	return nil
}

var prices = map[string]int64{"tea": 450, "coffee": 900}

// take prices an order, for as long as that takes, and returns what is to be written.
func take(_ context.Context, ev functions.Event, o order) (functions.Effect, error) {
	cents, ok := prices[o.SKU]
	if !ok {
		return nil, functions.Reject(errors.New("there is no such thing in the shop"))
	}
	return func(tx functions.Tx) (any, error) {
		added, err := tx.ExecContext(tx.Context(), `INSERT INTO orders (client_id, message_id, sku, cents) VALUES (?, ?, ?, ?)`,
			ev.ClientID, ev.MessageID, o.SKU, cents)
		if err != nil {
			return nil, err
		}
		id, err := added.LastInsertId()
		return map[string]int64{"order": id, "cents": cents}, err
	}, nil
}
