package api

import (
	"net/http"
	"time"

	"inturn/functions"
)

// deliverAtHeader names the time of an event whose body has no place for it.
const deliverAtHeader = "Inturn-Deliver-At"

// parseDeliverAt reads a time as RFC 3339 has it. pointer is where in the event it stands.
func parseDeliverAt(pointer, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, field(pointer, "must be a time as RFC 3339 has it, such as 2030-01-02T15:04:05Z")
	}
	if at.Year() < 1970 { // the zero Time would be no time at all
		return at, field(pointer, "is before 1970: leave it out for an event that runs at once")
	}
	return at, nil
}

// deliverAtIn returns ev with the time of the request's header, where it has one. The event's
// own must be the same.
func deliverAtIn(h http.Header, ev functions.Event) (functions.Event, error) {
	values := h[deliverAtHeader]
	if len(values) == 0 {
		return ev, nil
	}
	if len(values) > 1 {
		return ev, field("/deliver_at", "is given by more than one header %s", deliverAtHeader)
	}
	at, err := parseDeliverAt("/deliver_at", values[0])
	switch {
	case err != nil:
		return ev, err
	case !ev.DeliverAt.IsZero() && !ev.DeliverAt.Equal(at):
		return ev, field("/deliver_at", "differs from the header %s: leave that out, or send the same in both", deliverAtHeader)
	}
	ev.DeliverAt = at
	return ev, nil
}

// refuseDeliverAt refuses the header for a body of many events, each of which names its own time.
func refuseDeliverAt(h http.Header) error {
	if len(h[deliverAtHeader]) > 0 {
		return field("/deliver_at", "is given as a header for many events: name it in each event, and leave the header %s out", deliverAtHeader)
	}
	return nil
}
