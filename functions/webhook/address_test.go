package webhook

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestKindsOfAddresses(t *testing.T) {
	for kind, list := range map[kind]string{
		public: "1.1.1.1 8.8.8.8 93.184.216.34 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 " +
			"2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808",
		private:  "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 fc00::1 fdaa:0:1::3 ::ffff:10.0.0.1",
		loopback: "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1",
		never: "0.0.0.0 0.1.2.3 169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 255.255.255.255 240.0.0.1 " +
			":: fe80::1 fe80::1%eth0 ff02::1 fec0::1 2001:db8::1 2001::1 2002:a00:1:: 2002:7f00:1:: 3fff::1 ::7f00:1 ::ffff:0:0 ::ffff:169.254.169.254 fd00:ec2::254 fd20:ce::254 " +
			"64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 5f00::1 4000::1",
	} {
		for a := range strings.FieldsSeq(list) {
			if got := kindOf(netip.MustParseAddr(a)); got != kind {
				t.Errorf("%s is of kind %d, want %d", a, got, kind)
			}
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		spec     string
		insecure bool
		says     string // part of the error, "" for none
	}{
		{"a=https://example.com/x?key=hidden", false, ""},
		{"a.b-c/d=https://example.com:8443", false, ""},
		{"a=http://localhost:1/x?a=b=c", false, ""},
		{"a=http://LOCALHOST", false, ""},
		{"a=http://127.0.0.1:8000", false, ""},
		{"a=http://[::1]:8000", false, ""},
		{"a=https://93.184.216.34", false, ""},
		{"a=http://app:8000", true, ""},
		{"a=https://10.0.0.1", true, ""},
		{"a=http://[fdaa::1]", true, ""},
		{"", false, "must be TYPE=URL"},
		{"a", false, "must be TYPE=URL"},
		{"=https://hidden", false, "must be TYPE=URL"},
		{strings.Repeat("x", 300) + "=https://example.com", false, "longer than 256"},
		{"a=", false, "must begin with https://"},
		{"a=example.com/hidden", false, "must begin with https://"},
		{"a=ftp://example.com/hidden", false, "must begin with https://"},
		{"a=https:///hidden", false, "must name a host"},
		{"a=https://:443/hidden", false, "must name a host"},
		{"a=https:hidden", false, "must name a host"},
		{"a=https://example.com:0/hidden", false, "port"},
		{"a=https://example.com:65536/hidden", false, "port"},
		{"a=https://example.com:/hidden", false, "port"},
		{"a=https://example.com:hidden/", false, "can't be read"},
		{"a=https://exa mple.com/hidden", false, "can't be read"},
		{"a=https://example.com/\x00hidden", false, "can't be read"},
		{"a=https://user:hidden@example.com/", false, "must not have a user or password"},
		{"a=https://hidden@localhost/", false, "must not have a user or password"},
		{"a=https://example.com/#hidden", false, "fragment"},
		{"a=https://example.com/#", false, "fragment"},
		{"a=http://example.com/hidden", false, "--insecure-functions"},
		{"a=http://localhost.example.com/hidden", false, "--insecure-functions"},
		{"a=https://10.0.0.1/hidden", false, "--insecure-functions"},
		{"a=https://[fdaa::1]/hidden", false, "--insecure-functions"},
		{"a=https://[::ffff:10.0.0.1]/hidden", false, "--insecure-functions"},
		{"a=https://100.64.0.1/hidden", false, "--insecure-functions"},
		{"a=https://169.254.169.254/hidden", false, "never called"},
		{"a=http://169.254.169.254/hidden", true, "never called"},
		{"a=http://0.0.0.0:8000/hidden", true, "never called"},
		{"a=http://[fe80::1%25eth0]/hidden", true, "never called"},
	} {
		got, err := ParseTargets([]string{c.spec}, c.insecure)
		switch {
		case c.says == "" && (err != nil || len(got) != 1):
			t.Errorf("%s: %v", c.spec, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hidden")):
			t.Errorf("%.60q: %v, want %q and nothing that is hidden", c.spec, err, c.says)
		}
	}
	if _, err := ParseTargets([]string{"a=https://x", "a=https://y"}, false); err == nil || !strings.Contains(err.Error(), `"a": is given twice`) {
		t.Errorf("a type given twice: %v", err)
	}
}

// What a name stands for is judged when it is connected to: a name that was public
// when it was looked at and is loopback now is not called.
func TestANameThatTurnsIntoLoopback(t *testing.T) {
	called := false
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) { called = true })
	_, port, _ := strings.Cut(x.srv.Listener.Addr().String(), ":")
	targets, err := ParseTargets([]string{"t=http://localhost:" + port}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ local, insecure, allowed bool }{{true, false, true}, {false, true, true}, {false, false, false}} {
		target := targets[0]
		target.local, target.insecure = c.local, c.insecure // as for a name that isn't localhost
		called = false
		o := x.hooks.o
		o.Secrets = map[string][]string{"t": {secret('n')}}
		w, err := New([]Target{target}, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Functions()[0].Work(t.Context(), tea)
		w.Close()
		if called != c.allowed || (err == nil) != c.allowed {
			t.Errorf("%+v: called %t, %v", c, called, err)
		}
		if err != nil && !strings.Contains(err.Error(), "is loopback") {
			t.Errorf("%v", err)
		}
	}
}

// And localhost that stands for anything else, or a private address behind a name.
func TestAllows(t *testing.T) {
	for _, c := range []struct {
		local, insecure bool
		addr            string
		allowed         bool
	}{
		{true, false, "127.0.0.1", true}, {true, false, "::1", true}, {true, false, "93.184.216.34", false}, {true, false, "10.0.0.1", false}, {true, true, "10.0.0.1", false},
		{false, false, "93.184.216.34", true}, {false, false, "10.0.0.1", false}, {false, false, "127.0.0.1", false}, {false, false, "169.254.169.254", false},
		{false, true, "10.0.0.1", true}, {false, true, "127.0.0.1", true}, {false, true, "169.254.169.254", false}, {false, true, "fe80::1", false}, {false, true, "0.0.0.0", false},
	} {
		err := Target{local: c.local, insecure: c.insecure}.control("tcp", netip.AddrPortFrom(netip.MustParseAddr(c.addr), 443).String(), nil)
		if (err == nil) != c.allowed {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Target{insecure: true}).control("tcp", "nonsense", nil); err == nil {
		t.Error("an address that can't be read is allowed")
	}
}

// A proxy would connect where nobody has checked.
func TestNoProxy(t *testing.T) {
	x := newFixture(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	if tr := x.endpoint().client.Transport.(*http.Transport); tr.Proxy != nil {
		t.Error("the environment's proxy is used")
	}
}
