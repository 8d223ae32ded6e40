package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"inturn/db"
)

// background is the writer's context. It is never cancelled: the end of a context closes
// the connection, and with it the ownership.
var background = context.Background()

// address is where the database is.
type address struct {
	url, schema string
	notice      func(*pgconn.Notice) // nil: notices are let go
}

// connect opens a connection whose statements find the tables of the schema.
func (a *address) connect(ctx context.Context, settings ...string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(a.url)
	if err != nil {
		return nil, hidden(err)
	}
	config.RuntimeParams["application_name"] = "inturn"
	if a.notice != nil {
		config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { a.notice(n) }
	}
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, hidden(err)
	}
	// Not startup parameters, which poolers refuse before the reason can be told.
	settings = append([]string{"search_path TO " + pgx.Identifier{a.schema}.Sanitize()}, settings...)
	for i := range settings {
		settings[i] = "SET " + settings[i]
	}
	if _, err := c.Exec(ctx, strings.Join(settings, "; "), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// hidden returns an error of connecting without the address, which may have a password.
func hidden(err error) error {
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return fmt.Errorf("the address of the database can't be read: %w", errors.Unwrap(pe))
	}
	return fmt.Errorf("%w: connect: %w", db.ErrUnavailable, err)
}

// minVersion is the oldest PostgreSQL that is taken, as server_version_num has it.
const minVersion = 150000

// checkServer refuses a server, or a way to it, on which an answer would not mean durable.
func checkServer(ctx context.Context, c *pgx.Conn) error {
	var version, pid int
	var recovery bool
	var fsync, pages, commit, encoding string
	err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_backend_pid(), pg_is_in_recovery(), current_setting('fsync'),
		current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('server_encoding')`).
		Scan(&version, &pid, &recovery, &fsync, &pages, &commit, &encoding)
	switch {
	case err != nil:
		return fmt.Errorf("ask the server: %w", err)
	case version < minVersion:
		return fmt.Errorf("the server is PostgreSQL %d: inturn needs 15 or newer", version/10000)
	case recovery:
		return errors.New("the server is a standby: give the primary's address (target_session_attrs=read-write finds it among several hosts)")
	case uint32(pid) != c.PgConn().PID():
		return errors.New("the address is a connection pooler's: a writer's right to write belongs to its connection, so give PostgreSQL's own address (inturn opens about a dozen connections)")
	case fsync != "on" || pages != "on":
		return fmt.Errorf("the server has fsync = %s and full_page_writes = %s: an answer would not survive a crash; set both to on", fsync, pages)
	case commit == "off" || commit == "local":
		return fmt.Errorf("synchronous_commit is %s: set it to on, remote_write or remote_apply, for this user or database", commit)
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s: create one with ENCODING 'UTF8'", encoding)
	}
	return nil
}
