package api

import (
	"bytes"
	"io"

	"inturn/functions/cloudevents"

	"github.com/go-json-experiment/json/jsontext"
)

// identityIn finds the identity that raw, an event that was refused, names, however wrong
// the rest of it is. The account is "" where nobody can say whose event it is: raw must be
// one JSON object that names it once, as a string. The message_id is "" on the same terms.
func identityIn(raw []byte, cloud bool) (clientID, messageID string) {
	if !cloud {
		found := membersIn(raw, false, "client_id", "message_id")
		return found[0].text, found[1].text
	}
	found := membersIn(raw, true, "partitionkey", "source", "id")
	key, source, id := found[0], found[1], found[2]
	switch {
	case !key.there:
		return source.text, id.text
	case key.text == "" || source.text == "" || id.text == "":
		return key.text, ""
	}
	return cloudevents.Identity(source.text, id.text, key.text, true)
}

// member is a member of a JSON object.
type member struct {
	text  string // "" where it isn't there once, as a string that is not empty
	there bool
}

// membersIn returns the members of raw with these names, none if raw is no JSON object. With nullIsAbsent a member that is null is not there.
func membersIn(raw []byte, nullIsAbsent bool, names ...string) []member {
	none := make([]member, len(names))
	d := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() != '{' {
		return none
	}
	_, _ = d.ReadToken()
	found := make([]member, len(names))
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return none
		}
		text := string(unquote(name))
		value, err := d.ReadValue()
		if err != nil {
			return none
		}
		for i := range names {
			if names[i] != text || value.Kind() == 'n' && nullIsAbsent {
				continue
			}
			if again := found[i].there; again || value.Kind() != '"' {
				found[i] = member{there: true}
				continue
			}
			found[i] = member{string(unquote(value)), true}
		}
	}
	if _, err := d.ReadToken(); err != nil { // not the end of the object
		return none
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return none
	}
	return found
}
