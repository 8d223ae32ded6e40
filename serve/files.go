package serve

import (
	"cmp"
	"fmt"
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"

	"inturn/cli"
	"inturn/functions/api"
)

// spareFiles is left for what is opened for a while: further readers of the database, its
// temporary files, files that are read again, profiles.
const spareFiles = 32

// fewestConnections is what a server is of any use with.
const fewestConnections = 4

// connections is how many connections each address may have.
type connections struct{ clients, side int }

// connections returns the bounds that the limit of open files allows, with what is open
// now. It is called when all but the addresses is open.
func (c *Config) connections(log *slog.Logger) (connections, error) {
	var limit syscall.Rlimit // Go has raised the soft one to the hard one
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return connections{}, fmt.Errorf("limit of open files: %w", err)
	}
	wanted := c.maxConnections()
	allowed, err := c.share(int(min(limit.Cur, 1<<30)), openFiles(int(min(limit.Cur, 4096))))
	if err == nil && allowed.clients < wanted {
		log.Warn("fewer connections than --max-connections: the limit of open files is low", "open_files", limit.Cur,
			"max_connections", wanted, "connections", allowed.clients)
	}
	return allowed, err
}

// share divides a limit of open files, of which so many are in use.
func (c *Config) share(limit, used int) (connections, error) {
	sides := 1
	if c.HTTPListen != "" {
		sides++
	}
	side := max(min(sideConnections, limit/16), fewestConnections)
	left := limit - used - spareFiles - sides*(side+2) - len(c.Function)*c.FunctionMaxConcurrent
	if left < fewestConnections {
		return connections{}, &cli.Hint{
			Err:  fmt.Errorf("the limit of %d open files leaves none for clients", limit),
			Hint: "raise it: ulimit -n 65536, or LimitNOFILE= of systemd",
		}
	}
	return connections{clients: min(left, c.maxConnections()), side: side}, nil
}

func (c *Config) maxConnections() int { return cmp.Or(c.MaxConnections, api.DefaultMaxConns) }

// openFiles counts the open files among the first n.
func openFiles(n int) (open int) {
	for fd := range n {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open++
		}
	}
	return open
}
