package api

import (
	"strconv"
	"time"

	"inturn/db"
)

// eventFilter returns the filter that the parameters of GET /v1/events are.
func eventFilter(query map[string]string) (f db.Filter, err error) {
	f.Limit = defaultPage
	for name, value := range query {
		switch name {
		case "client_id":
			f.ClientID, err = notEmpty(name, value)
		case "type":
			f.Type, err = notEmpty(name, value)
		case "state":
			f.State, err = stateParameter(name, value)
		case "request_id":
			f.RequestID, err = notEmpty(name, value)
		case "since":
			f.Since, err = timeParameter(name, value)
		case "until":
			f.Until, err = timeParameter(name, value)
		case "order":
			if f.Newest = value == "desc"; !f.Newest && value != "asc" {
				err = parameter(name, "must be asc, the oldest first, or desc, the newest first")
			}
		case "after":
			f.After, err = seqParameter(name, value)
		case "limit":
			f.Limit, err = limitParameter(name, value)
		}
		if err != nil {
			return f, err
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Until.After(f.Since) {
		return f, parameter("until", "must be later than since: no event is between the two")
	}
	return f, nil
}

func stateParameter(name, value string) (db.State, error) {
	switch state := db.State(value); state {
	case db.Scheduled, db.Pending, db.Done, db.Dead:
		return state, nil
	}
	return "", parameter(name, "must be scheduled, pending, done or dead")
}

func timeParameter(name, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, parameter(name, "must be a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
	}
	return t, nil
}

func notEmpty(name, value string) (string, error) {
	if value == "" {
		return "", parameter(name, "is empty: name one, or leave it out for all")
	}
	return value, nil
}

func seqParameter(name, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, parameter(name, "must be a whole number, 0 or more")
	}
	return n, nil
}

func limitParameter(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxPage {
		return 0, parameter(name, "must be a number from 1 to %d", maxPage)
	}
	return n, nil
}
