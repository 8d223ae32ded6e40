package serve

import (
	localtls "inturn/tls"

	"errors"
	"fmt"
	"net/url"

	"inturn/cli"
	"inturn/functions/api"
)

// TLSConfig is the flags of `inturn serve` about certificates and proxies.
type TLSConfig struct {
	TLS    string   `name:"tls" help:"self-signed: by a local CA that is made once. acme: by Let's Encrypt or another authority that speaks ACME. files: --cert and --key. off: behind a proxy that ends TLS." enum:"self-signed,acme,files,off" default:"self-signed" env:"INTURN_TLS"`
	TLSDir string   `name:"tls-dir" help:"Folder of the local CA (the file for clients is ca.pem in it) and of what acme obtained. Default: tls beside the database." env:"INTURN_TLS_DIR" placeholder:"FOLDER"`
	Domain []string `help:"Name of this server in its certificate; may be repeated. With one, requests to foreign names (Host) are refused." env:"INTURN_DOMAIN"`

	ACMEEmail  string `name:"acme-email" help:"Where the authority writes when something is wrong." env:"INTURN_ACME_EMAIL" placeholder:"ADDRESS"`
	ACMECA     string `name:"acme-ca" help:"Directory of the authority. Default: Let's Encrypt." env:"INTURN_ACME_CA" placeholder:"URL"`
	ACMERoot   string `name:"acme-root" help:"PEM file with whom to trust when asking an authority of your own." env:"INTURN_ACME_ROOT" placeholder:"FILE"`
	HTTPListen string `name:"http-listen" help:"Address that port 80 of the domains leads to: answers the authority's challenges and redirects to HTTPS; takes no events." env:"INTURN_HTTP_LISTEN" placeholder:"ADDRESS"`

	Cert string `help:"Certificate and its chain, PEM; read again when it changes." env:"INTURN_CERT" placeholder:"FILE"`
	Key  string `help:"Key of the certificate, PEM." env:"INTURN_KEY" placeholder:"FILE"`

	TrustedProxy  []string `name:"trusted-proxy" help:"Range of addresses (10.0.0.0/8) of proxies in front, whose X-Forwarded-For and -Proto, or PROXY header, count for the log; may be repeated." env:"INTURN_TRUSTED_PROXY" placeholder:"RANGE"`
	ProxyProtocol bool     `name:"proxy-protocol" help:"Connections from --trusted-proxy begin with a PROXY protocol header (version 1 or 2)." env:"INTURN_PROXY_PROTOCOL"`
}

const (
	tlsSelfSigned = "self-signed"
	tlsACME       = "acme"
	tlsFiles      = "files"
	tlsOff        = "off"
)

// validate returns an error for wrong flags, or for flags that don't go together.
func (f *TLSConfig) validate() error {
	for flag, c := range map[string]struct{ value, mode string }{
		"acme-email": {f.ACMEEmail, tlsACME}, "acme-ca": {f.ACMECA, tlsACME}, "acme-root": {f.ACMERoot, tlsACME},
		"cert": {f.Cert, tlsFiles}, "key": {f.Key, tlsFiles},
	} {
		if c.value != "" && f.TLS != c.mode {
			return &cli.Hint{Err: fmt.Errorf("--%s does nothing with --tls %s", flag, f.TLS), Hint: "say --tls " + c.mode + " too, or leave it out"}
		}
	}
	for _, name := range f.Domain {
		if err := localtls.CheckName(name); err != nil && f.TLS != tlsACME {
			return err
		}
	}
	if f.TLS == tlsACME {
		if len(f.Domain) == 0 {
			return &cli.Hint{Err: errors.New("--tls acme needs a --domain to ask a certificate for"), Hint: "give the name that clients use, such as --domain events.example.com; its DNS must lead here"}
		}
		for _, name := range f.Domain {
			if err := localtls.CheckDomain(name); err != nil {
				return fmt.Errorf("--tls acme: %w", err)
			}
		}
		if u, err := url.Parse(f.ACMECA); f.ACMECA != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
			return &cli.Hint{Err: fmt.Errorf("--acme-ca %.200q is not the URL of a directory", f.ACMECA), Hint: "such as https://acme-staging-v02.api.letsencrypt.org/directory"}
		}
	}
	if f.TLS == tlsFiles && (f.Cert == "" || f.Key == "") {
		return &cli.Hint{Err: errors.New("--tls files needs both --cert and --key"), Hint: "give the certificate with its chain, and its key, as PEM files"}
	}
	if f.HTTPListen != "" && (f.TLS == tlsOff || len(f.Domain) == 0) {
		return &cli.Hint{Err: errors.New("--http-listen redirects to HTTPS at a --domain: it needs one, and TLS"), Hint: "leave it out, or give --domain"}
	}
	if _, err := api.ParseProxies(f.TrustedProxy); err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	if f.ProxyProtocol && len(f.TrustedProxy) == 0 {
		return &cli.Hint{Err: errors.New("--proxy-protocol needs --trusted-proxy: whoever may send the header may say who the client is"), Hint: "give the addresses that the proxy connects from, such as --trusted-proxy 172.16.0.0/12"}
	}
	return nil
}

// forTheWorld reports whether clients come from elsewhere, through a proxy or a
// forwarded port, also where --listen says loopback.
func (f *TLSConfig) forTheWorld() bool { return f.TLS == tlsACME || len(f.TrustedProxy) > 0 }
