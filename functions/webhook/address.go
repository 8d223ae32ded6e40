package webhook

import (
	"fmt"
	"net/netip"
	"syscall"
)

// kind is what an address is good for.
type kind int

const (
	public kind = iota
	private
	loopback
	never // never an endpoint: metadata services, link-local, multicast, documentation
)

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, s := range list {
		all[i] = netip.MustParsePrefix(s)
	}
	return all
}

// From IANA's registries of special-purpose addresses. Of IPv6 only 2000::/3 is given
// out as public.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var (
	privates = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
		"100.64.0.0/10", // behind carriers' NAT
		"fc00::/7")
	nevers = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
		// Metadata services of clouds that are not link-local.
		"100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128")
	publicIPv6 = netip.MustParsePrefix("2000::/3")
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // the last 32 bits are an IPv4 address (RFC 6052)
)

func kindOf(a netip.Addr) kind {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		if kindOf(netip.AddrFrom4([4]byte(b[12:]))) == public {
			return public
		}
		return never
	}
	for _, p := range nevers {
		if p.Contains(a) {
			return never
		}
	}
	if a.IsLoopback() {
		return loopback
	}
	for _, p := range privates {
		if p.Contains(a) {
			return private
		}
	}
	if a.Is6() && !publicIPv6.Contains(a) {
		return never
	}
	return public
}

// allows says whether the target may be at this address. A URL that names loopback
// stays there; a name that stands for loopback or a private address is what an
// attacker would make of a name that was public yesterday.
func (t Target) allows(a netip.Addr) error {
	switch k := kindOf(a); {
	case k == never:
		return fmt.Errorf("the address %s is never called: it is link-local, a metadata service, or no host's", a)
	case t.local && k != loopback:
		return fmt.Errorf("localhost stands for %s, which is not loopback", a)
	case k == private && !t.insecure:
		return fmt.Errorf("the address %s is private: say --insecure-functions if that is meant", a)
	case k == loopback && !t.local && !t.insecure:
		return fmt.Errorf("the name stands for %s, which is loopback: write localhost or 127.0.0.1, if that is meant", a)
	}
	return nil
}

// control is asked for each connection once its name was looked up, so that what is
// allowed and what is called are the same address.
func (t Target) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address can't be read: %w", err)
	}
	return t.allows(ap.Addr())
}
