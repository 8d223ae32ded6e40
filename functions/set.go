package functions

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"inturn/db"
)

// DefaultType is the type of an event that names none.
const DefaultType = "message"

// MaxID bounds client_id, message_id and type, in bytes.
const MaxID = 256

// Set is the functions of one process, by the type they run for.
type Set struct {
	byName map[string]Function
	all    []Function
}

// NewSet refuses two functions of one name.
func NewSet(fns ...Function) (*Set, error) {
	s := &Set{byName: map[string]Function{}}
	for _, f := range fns {
		if f.name != "" {
			if _, ok := s.byName[f.name]; ok {
				return nil, fmt.Errorf("function %q is listed twice", f.name)
			}
			s.byName[f.name] = f
		}
		s.all = append(s.all, f)
	}
	return s, nil
}

// Get returns the function for events of type name.
func (s *Set) Get(name string) (Function, bool) {
	f, ok := s.byName[name]
	return f, ok
}

// All returns the functions in the order in which they were listed.
func (s *Set) All() []Function { return s.all }

// Names returns the types that have a function, sorted.
func (s *Set) Names() []string {
	names := make([]string, 0, len(s.byName))
	for n := range s.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Tables returns the functions' own tables.
func (s *Set) Tables() []db.Migration {
	var all []db.Migration
	for _, f := range s.all {
		all = append(all, f.tables...)
	}
	return all
}

// Invariants returns what the functions want `inturn check` to ask of a file.
func (s *Set) Invariants() []db.Invariant { return s.InvariantsOn(db.SQLite) }

// InvariantsOn is Invariants for a storage with this dialect.
func (s *Set) InvariantsOn(d db.Dialect) []db.Invariant {
	var all []db.Invariant
	for _, f := range s.all {
		all = append(all, db.InvariantsOn(d, f.checks)...)
	}
	return all
}

// Erasures returns what of the functions' tables belongs to a client.
func (s *Set) Erasures() []db.Erasure {
	var all []db.Erasure
	for _, f := range s.all {
		all = append(all, f.erases...)
	}
	return all
}

// Check is what every event passes before it is appended: identity, type, time, payload.
// The payload must be compact JSON. Errors are *FieldError, or the payload's own.
func (s *Set) Check(ev Event) (Event, error) {
	if err := validID(ev.ClientID); err != nil {
		return ev, &FieldError{Pointer: "/client_id", Detail: err.Error()}
	}
	if err := validID(ev.MessageID); err != nil {
		return ev, &FieldError{Pointer: "/message_id", Detail: err.Error()}
	}
	unnamed := ev.Type == ""
	if unnamed {
		ev.Type = DefaultType
	}
	f, ok := s.byName[ev.Type]
	switch {
	case !ok && unnamed:
		return ev, &FieldError{Pointer: "/type", Detail: fmt.Sprintf("is left out, which makes the event a %q, and there is no function for that: name its type", DefaultType)}
	case !ok:
		return ev, &FieldError{Pointer: "/type", Detail: fmt.Sprintf("there is no function for type %.100q", ev.Type)}
	}
	if len(ev.Payload) == 0 {
		return ev, &FieldError{Pointer: "/payload", Detail: "is missing"}
	}
	if !ev.DeliverAt.IsZero() {
		ev.DeliverAt = ev.DeliverAt.UTC().Truncate(time.Microsecond)
		if err := checkDeliverAt(ev.DeliverAt, time.Now()); err != nil {
			return ev, err
		}
	}
	err := f.check(ev.Payload)
	if err != nil && unnamed {
		err = untyped(err)
	}
	return ev, err
}

// untyped adds to what is wrong with the payload of an event without a type that another
// type may have been meant.
func untyped(err error) error {
	pointer := "/payload"
	text := err.Error()
	if fe, ok := errors.AsType[*FieldError](err); ok {
		pointer, text = fe.Pointer, fe.Detail
	}
	return &FieldError{Pointer: pointer, Detail: fmt.Sprintf("%s (the event has no type, which makes it a %q: for another function name its type)", text, DefaultType)}
}

// checkDeliverAt says what is wrong with a time for which an event is accepted now.
func checkDeliverAt(at, now time.Time) error {
	switch {
	case at.Year() < 1970:
		return &FieldError{Pointer: "/deliver_at", Detail: "is before 1970: leave it out for an event that runs at once"}
	case at.Sub(now) > db.MaxDelay:
		return &FieldError{Pointer: "/deliver_at", Detail: "is more than 366 days ahead"}
	}
	return nil
}

// validID says what client_id and message_id must be.
func validID(id string) error {
	switch {
	case id == "":
		return errors.New("is missing or empty")
	case len(id) > MaxID:
		return fmt.Errorf("is longer than %d bytes", MaxID)
	case id == "." || id == "..":
		return errors.New("must not be . or .. (it stands in URL paths)")
	case !utf8.ValidString(id):
		return errors.New("must be valid UTF-8")
	}
	for _, r := range id {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return errors.New("must not contain control characters")
		}
	}
	return nil
}

// CheckClientID returns what is wrong with a client_id, which Check refuses too.
func CheckClientID(id string) error { return validID(id) }

// CheckType says what is wrong with the name of a type, before New panics at it.
func CheckType(name string) error {
	if err := validID(name); err != nil {
		return fmt.Errorf("the type %w", err)
	}
	return nil
}
