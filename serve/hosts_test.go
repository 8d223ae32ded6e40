package serve

import (
	"testing"

	"inturn/internal/program"
)

// A page whose name was made to point to this machine (DNS rebinding) reaches neither
// address where no token would keep it out.
func TestForeignHosts(t *testing.T) {
	t.Parallel()
	open := program.Serve(t, t.TempDir(), nil, "--tls", "off", "--admin-host", "metrics.example.com")
	guarded := program.Serve(t, t.TempDir(), []string{"INTURN_TOKEN=secret"}, "--tls", "off")
	for _, c := range []struct {
		server *program.Server
		host   string
		admin  bool
		want   int
	}{
		{open, "localhost", false, 200}, {open, "evil.example", false, 421},
		{open, "localhost", true, 200}, {open, "metrics.example.com", true, 200}, {open, "evil.example", true, 421},
		{guarded, "evil.example", false, 200}, {guarded, "evil.example", true, 421},
	} {
		args := []string{"-H", "Host: " + c.host, "-H", "Authorization: Bearer secret"}
		if c.admin {
			args = append(args, "http://"+c.server.Admin+"/metrics")
		} else {
			args = append(args, c.server.URL("/v1/types"))
		}
		if a := program.Curl(t, args...); a.Status != c.want {
			t.Errorf("Host %s, admin %t: %d %.200s", c.host, c.admin, a.Status, a.Body)
		}
	}
}
