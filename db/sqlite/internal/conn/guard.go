package conn

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// guard lets nothing commit but Commit: while a group or a migration runs, a COMMIT in
// disguise, and a statement that finds itself outside the transaction after that has
// ended, are rolled back instead. https://www.sqlite.org/c3ref/commit_hook.html
type guard struct {
	on            bool // used only by the goroutine that runs statements
	begin, commit *Stmt
}

func newGuard(c *Conn) (*guard, error) {
	g := &guard{}
	var err error
	if g.begin, err = c.Prepare("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	if g.commit, err = c.Prepare("COMMIT"); err != nil {
		return nil, errors.Join(err, g.close(c))
	}
	return g, c.registerCommitHook(func() int32 {
		if g.on {
			return 1
		}
		return 0
	})
}

func (g *guard) close(c *Conn) error {
	g.begin.Close()
	g.commit.Close()
	return c.registerCommitHook(nil)
}

func (c *Conn) registerCommitHook(hook sqlite.CommitHookFn) error {
	return c.SQL.Raw(func(dc any) error {
		h, ok := dc.(sqlite.HookRegisterer)
		if !ok {
			return fmt.Errorf("unexpected driver connection %T", dc)
		}
		h.RegisterCommitHook(hook)
		return nil
	})
}

// Begin takes the write lock and guards the transaction: only Commit commits it.
func (c *Conn) Begin() error {
	_, err := c.guard.begin.Exec()
	c.guard.on = err == nil
	return err
}

// Commit ends the transaction that Begin has begun.
func (c *Conn) Commit() error {
	c.guard.on = false
	_, err := c.guard.commit.Exec()
	return err
}

// Rollback ends the transaction, if it still stands, and what Begin guards.
func (c *Conn) Rollback() error {
	var err error
	if c.InTransaction() {
		if err = c.Exec("ROLLBACK"); err != nil && !c.InTransaction() {
			err = nil
		}
	}
	c.guard.on = false
	return err
}
