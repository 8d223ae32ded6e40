package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"inturn/db"

	"inturn/db/sqlite/file"
)

// Check proves from the file alone what the engine promises, as far as a file can
// show it.
type Check struct {
	DB     string `name:"db" help:"Database file, or the address of a PostgreSQL." default:"data/inturn.db" env:"INTURN_DB"`
	Schema string `name:"db-schema" help:"Schema of PostgreSQL." default:"inturn" env:"INTURN_DB_SCHEMA"`
	JSON   bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// checked is the output of Check, in JSON's names.
type checked struct {
	OK         bool             `json:"ok"`
	Counts     *counts          `json:"counts,omitempty"` // of a file without violations
	Violations []namedViolation `json:"violations"`
}

// uncheckable is the error for a file that this version of inturn can't judge. Its exit
// status differs from that of a file with violations.
type uncheckable struct{ err error }

func (u *uncheckable) Error() string   { return u.err.Error() }
func (u *uncheckable) Unwrap() error   { return u.err }
func (u *uncheckable) ExitStatus() int { return 3 }

// explainCheck tells a file that can't be judged from one that can't be read.
func explainCheck(err error) error {
	explained := ExplainFile(err)
	if _, ok := errors.AsType[*Hint](explained); ok {
		return &uncheckable{explained}
	}
	return err
}

type namedViolation struct {
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

type counts struct {
	Events   int64 `json:"events"`
	Accounts int64 `json:"accounts"`
	Pending  int64 `json:"pending"`
	Done     int64 `json:"done"`
	Dead     int64 `json:"dead"`
}

// Run prints a line a violation, and returns an error if there is one. The
// functions' own tables are checked by their invariants.
func (c Check) Run(ctx context.Context, out IO, invariants []db.Invariant, pg Postgres) error {
	find, hint := c.ofFile, "keep a copy of the file as it is, with its -wal file, before anything else writes to it"
	if IsPostgres(c.DB) {
		find, hint = pg.find, "stop all nodes, and keep a copy of the database as it is, before anything else writes to it"
	} else if err := existingFile(c.DB); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	end := elapsed(out.Err, "checking")
	defer end()
	found, n, err := find(ctx, &c, invariants)
	if err != nil {
		return explainCheck(fmt.Errorf("check: %w", err))
	}
	result := checked{OK: len(found) == 0, Counts: n, Violations: []namedViolation{}}
	for _, v := range found {
		result.Violations = append(result.Violations, namedViolation{printable(v.Kind), printable(v.Detail)})
	}
	end()
	if err := c.print(out.Out, result); err != nil {
		return err
	}
	if n := len(found); n > 0 {
		return &Hint{
			Err:  fmt.Errorf("check: %s: violations found: %d", PrintableDB(c.DB), n),
			Hint: hint,
		}
	}
	return nil
}

// ofFile finds the violations of a file and, where there are none, its counts.
func (c *Check) ofFile(ctx context.Context, _ *Check, invariants []db.Invariant) ([]db.Violation, *counts, error) {
	found, err := file.Verify(ctx, c.DB, invariants)
	if err != nil || len(found) > 0 {
		return found, nil, err
	}
	n, err := count(ctx, c.DB)
	if err != nil {
		err = fmt.Errorf("count: %w", err)
	}
	return nil, n, err
}

func (c Check) print(w io.Writer, result checked) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(result)
	}
	for _, v := range result.Violations {
		if _, err := fmt.Fprintf(w, "%s: %s\n", v.Kind, v.Detail); err != nil {
			return err
		}
	}
	if n := result.Counts; n != nil {
		_, err := fmt.Fprintf(w, "ok: %d events of %d accounts: %d done, %d dead, %d pending\n",
			n.Events, n.Accounts, n.Done, n.Dead, n.Pending)
		return err
	}
	return nil
}

// count reads all numbers in one statement, so that they belong together.
func count(ctx context.Context, path string) (_ *counts, err error) {
	handle, err := file.OpenReadOnly(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, handle.Close()) }()
	var n counts
	err = handle.QueryRowContext(ctx, countQuery).Scan(&n.Events, &n.Accounts, &n.Pending, &n.Done, &n.Dead)
	return &n, err
}
