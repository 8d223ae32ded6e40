package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"inturn/functions"
)

// Target is where a type's events go, and how. The zero fields of the second block have
// what Options says.
type Target struct {
	Type string

	Secrets       []string // whsec_ and base64; each signs
	MaxConcurrent int
	Timeout       time.Duration
	Policy        functions.Policy // its Timeout is not used
	Rate          float64          // calls in a second; 0: no bound

	url      *url.URL
	local    bool // the URL itself says loopback
	insecure bool // private addresses and plain http are allowed
}

// ParseTargets reads TYPE=URL of each spec. What is wrong is said without the URL, in
// which there may be secrets.
func ParseTargets(specs []string, insecure bool) ([]Target, error) {
	var all []Target
	seen := map[string]bool{}
	for i, spec := range specs {
		t, err := parseTarget(spec, insecure)
		if t.Type == "" && err != nil {
			return nil, fmt.Errorf("function %d: %w", i+1, err)
		}
		if err == nil && seen[t.Type] {
			err = errors.New("is given twice")
		}
		if err != nil {
			return nil, fmt.Errorf("function %.100q: %w", t.Type, err)
		}
		seen[t.Type] = true
		all = append(all, t)
	}
	return all, nil
}

func parseTarget(spec string, insecure bool) (Target, error) {
	typ, address, ok := strings.Cut(spec, "=")
	if !ok || typ == "" {
		return Target{}, errors.New("must be TYPE=URL, such as order=https://shop.example/events")
	}
	return ParseTarget(typ, address, insecure)
}

// ParseTarget checks a type and the URL of its endpoint. What is wrong is said without the
// URL, in which there may be secrets. insecure allows private addresses, and plain http
// beyond loopback.
func ParseTarget(typ, address string, insecure bool) (Target, error) {
	t := Target{Type: typ, insecure: insecure}
	if err := functions.CheckType(typ); err != nil {
		return t, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return t, errors.New("its URL can't be read: check it for blanks, control characters and a port that is no number")
	}
	t.url = u
	port, portErr := strconv.Atoi(u.Port())
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return t, errors.New("its URL must begin with https:// (or http://, on loopback)")
	case u.Hostname() == "":
		return t, errors.New("its URL must name a host")
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && (portErr != nil || port < 1 || port > 65535):
		return t, errors.New("its URL's port must be a number from 1 to 65535")
	case u.User != nil:
		return t, errors.New("its URL must not have a user or password in it: events are signed, set INTURN_FUNCTION_SECRET")
	case u.Fragment != "" || strings.Contains(address, "#"):
		return t, errors.New("its URL must not have a fragment (#): it would never be sent")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	t.local = strings.EqualFold(u.Hostname(), "localhost") || literal && kindOf(addr) == loopback
	if literal {
		if err := t.allows(addr); err != nil {
			return t, err
		}
	}
	if u.Scheme == "http" && !t.local && !insecure {
		return t, errors.New("plain http:// beyond loopback would show the events to anybody on the way: use https://, or say --insecure-functions")
	}
	return t, nil
}

// Loopback reports whether the URL itself says that the endpoint is on this machine.
func (t Target) Loopback() bool { return t.local }

// origin names the endpoint where people read it. Its path and query may be secrets.
func (t Target) origin() string { return t.url.Scheme + "://" + t.url.Host }
