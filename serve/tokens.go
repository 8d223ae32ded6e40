package serve

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"inturn/cli"
	"inturn/functions/api"
)

// Lengths of INTURN_TOKEN, in characters. One that is shorter than minToken is found by
// trying within days, at the speed of the server, and is no token for clients from
// beyond this machine. From goodToken on nothing is said.
const (
	minToken  = 6
	goodToken = 16
)

const longToken = "make one: openssl rand -hex 16"

// loadTokens returns the tokens, nil for none. Without any, or with one that can be
// guessed, it refuses to serve clients from beyond this machine.
func (c *Config) loadTokens() (*api.Tokens, error) {
	env := strings.TrimSpace(os.Getenv("INTURN_TOKEN"))
	tokens, err := api.LoadTokens(c.TokenFile, env)
	if err == nil && env != "" && len(env) < minToken && (!isLoopback(c.Listen) || c.forTheWorld()) {
		return nil, &cli.Hint{Err: fmt.Errorf("INTURN_TOKEN has %d characters: anybody who reaches %s can guess it", len(env), c.Listen), Hint: longToken}
	}
	if err != nil || tokens != nil || c.InsecureNoAuth {
		return tokens, err
	}
	const everyone = "and there are no tokens: everyone could do everything"
	switch {
	case !isLoopback(c.Listen):
		return nil, &cli.Hint{
			Err:  fmt.Errorf("%s is not loopback, %s", c.Listen, everyone),
			Hint: "set INTURN_TOKEN or --token-file, or listen on 127.0.0.1, or say --insecure-no-auth",
		}
	case c.forTheWorld():
		return nil, &cli.Hint{
			Err:  fmt.Errorf("--tls acme and --trusted-proxy are for clients from elsewhere, %s", everyone),
			Hint: "set INTURN_TOKEN or --token-file, or say --insecure-no-auth",
		}
	}
	return nil, nil
}

// weakToken says for the log that INTURN_TOKEN can be guessed; "" for one that can't, or none.
func weakToken(env string) string {
	if env = strings.TrimSpace(env); env == "" || len(env) >= goodToken {
		return ""
	}
	return fmt.Sprintf("INTURN_TOKEN has fewer than %d characters and can be guessed; %s", goodToken, longToken)
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hosts returns the names that clients may call the server by, none for any. Without
// tokens nothing but its name keeps out a page that was made to point here (DNS
// rebinding), so that the names of this machine are the only ones then.
func (c *Config) hosts(tokens bool) []string {
	if tokens || c.InsecureNoAuth {
		return c.Domain
	}
	host, _, _ := net.SplitHostPort(c.Listen) // checked by Validate
	return append(slices.Clone(c.Domain), "localhost", host)
}
