package message

import (
	"fmt"
	"testing"

	"inturn/functions"
	"inturn/functions/functionstest"
)

func event(typ, client, id, phone string) functions.Event {
	payload := fmt.Sprintf(`{"phone":%q,"text":"hello"}`, phone)
	return functions.Event{ClientID: client, MessageID: id, Type: typ, Payload: []byte(payload)}
}

// A client that is erased leaves nothing here, and others lose nothing.
func TestErase(t *testing.T) {
	e := functionstest.New(t, Function, Close)
	for n := range 3 {
		for _, client := range []string{"anna", "boris"} {
			for _, phone := range []string{"+70000000001", "+70000000002"} {
				e.Do(event("message", client, fmt.Sprint(phone, n), phone))
			}
			e.Do(event("dialog.close", client, fmt.Sprint("close", n), "+70000000001"))
		}
	}
	done := e.Erase("anna")
	if done.Events != 9 || done.Rows["messages"] != 6 || done.Rows["dialogs"] != 4 || done.Rows["clients"] != 2 {
		t.Errorf("erased: %+v", done)
	}
	got := e.Query(`SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM dialogs), (SELECT count(*) FROM clients), (SELECT min(external_client_id) FROM clients)`)
	if fmt.Sprint(got) != "[[6 4 2 boris]]" {
		t.Errorf("left: %v", got)
	}
	if got := e.Do(event("message", "anna", "+700000000010", "+70000000001")); got.State != "done" {
		t.Errorf("anna again: %+v", got)
	}
}
