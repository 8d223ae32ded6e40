package serve

import (
	localtls "inturn/tls"

	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"inturn/cli"
)

// certificates is what a mode of --tls gives the server.
type certificates struct {
	config     *tls.Config      // nil: no TLS
	caFile     string           // of the local CA, else ""
	notAfter   func() time.Time // when the first certificate expires; 1970: one is missing. nil: no TLS
	warning    func() string    // what a person should look at; "" for nothing
	run        func(ctx context.Context)
	reload     func() // has run read the files again; nil: there are none to be read
	challenges func(http.Handler) http.Handler
	close      func()
}

// openCertificates returns the certificates of the mode --tls.
func (c *Config) openCertificates(l *listeners, log *slog.Logger) (*certificates, error) {
	made := &certificates{
		warning:    func() string { return "" },
		run:        func(ctx context.Context) { <-ctx.Done() },
		challenges: func(next http.Handler) http.Handler { return next },
		close:      func() {},
	}
	switch c.TLS {
	case tlsSelfSigned:
		local, err := localtls.SelfSigned(c.tlsDir(), c.Domain, time.Now, log)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		made.config, made.caFile, made.notAfter = local.Config(), local.CAFile(), local.NotAfter
	case tlsACME:
		o := localtls.ACMEOptions{Domains: c.Domain, Email: c.ACMEEmail, Dir: filepath.Join(c.tlsDir(), "acme"), CA: c.ACMECA, RootFile: c.ACMERoot, Public: l.public.Addr(), Log: log}
		if l.plain != nil {
			o.Plain = l.plain.Addr()
		}
		acme, err := localtls.OpenACME(o)
		if err != nil {
			return nil, &cli.Hint{Err: err, Hint: "is --tls-dir a folder that this user may write, and --acme-root a file it may read?"}
		}
		made.config, made.warning, made.run, made.challenges, made.close = acme.Config(), acme.Warning, acme.Run, acme.Challenges, acme.Close
		made.notAfter = func() time.Time {
			if end := acme.NotAfter(); !end.IsZero() {
				return end
			}
			return time.Unix(0, 0)
		}
	case tlsFiles:
		pair, err := localtls.OpenPair(c.Cert, c.Key, c.Domain, time.Now, log)
		if err != nil {
			return nil, &cli.Hint{Err: err, Hint: "--cert must be the server's certificate followed by its chain, --key its key, both PEM, of at most 64 KiB, and readable for this user"}
		}
		made.config, made.notAfter, made.warning, made.run, made.reload = pair.Config(), pair.NotAfter, pair.Warning, pair.Run, pair.Reload
	}
	return made, nil
}

// tlsDir is the folder of the local CA and of what ACME obtained.
func (c *Config) tlsDir() string {
	if c.TLSDir != "" {
		return c.TLSDir
	}
	if cli.IsPostgres(c.DB) {
		return filepath.Join("data", "tls")
	}
	return filepath.Join(filepath.Dir(c.DB), "tls")
}
