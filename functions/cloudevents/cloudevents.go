// Package cloudevents has the rules of CloudEvents 1.0.2 that package api, which takes
// events, and package webhook, which sends and receives events, have in common: what an
// attribute may be, and how an event's identity there and here go together.
//
//	partitionkey, else source    client_id
//	source + " " + id            message_id, where the partitionkey names the account
//	id                           message_id, where the source names it
//
// Identity in CloudEvents is source and id. An event of one inturn that another takes
// keeps its identity: it has the client_id as its partitionkey, and a source that is
// made of nothing else.
package cloudevents

import (
	"net/url"
	"strings"
)

// Types of media in which events come and go (CloudEvents 1.0.2, JSON event format,
// section 3, and JSON batch format, section 4).
const (
	MediaType      = "application/cloudevents+json"
	BatchMediaType = "application/cloudevents-batch+json"
)

// sourcePrefix stands before a client_id that is no URI-reference itself.
const sourcePrefix = "urn:inturn:account:"

// Source returns the source of an account's events, a URI-reference: the client_id
// where it is one that libraries leave as it is, else "urn:inturn:account:" and the
// client_id percent-encoded. No two accounts have the same.
func Source(clientID string) string {
	// What Go reads and writes differently would not arrive as it is.
	u, err := url.Parse(clientID)
	if err == nil && u.String() == clientID && clientID != "" && URIReference(clientID) && !strings.HasPrefix(clientID, sourcePrefix) {
		return clientID
	}
	return sourcePrefix + escape(clientID)
}

// Identity returns the identity of an event: its account's client_id and its own
// message_id. Keyed says that it has a partitionkey, which is key.
func Identity(source, id, key string, keyed bool) (clientID, messageID string) {
	switch {
	case !keyed:
		return source, id
	case source == key || source == Source(key): // the source says nothing that the key doesn't
		return key, id
	}
	return key, source + " " + id
}

// AttributeName reports whether name may be that of an attribute (section 3.1): lower-case
// letters of ASCII and digits. The limit of 20 characters there is a SHOULD.
func AttributeName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// escape percent-encodes every byte of s but RFC 3986's unreserved characters.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
