package db

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"inturn/db/internal/q"
)

// migrations[i] makes schema version i+2 of version i+1. A deployed step is never
// changed; schema.sql is what a file looks like after all of them.
var migrations = []string{}

// migrate brings an older file to schemaVersion in one transaction, after a copy
// of the file has been put beside it.
func (w *writer) migrate(path string, version int, steps []string) error {
	latest := len(steps) + 1
	if version == latest {
		return nil
	}
	if path != "" {
		copied, err := w.copyBefore(path, version)
		if err != nil {
			return fmt.Errorf("copy before migration: %w", err)
		}
		w.log.Info("migrating the database", "from", version, "to", latest, "copy", copied)
	}
	return w.fenced(func() error {
		for v := version; v < latest; v++ {
			if err := w.sql(steps[v-1]); err != nil {
				return fmt.Errorf("migrate to version %d: %w", v+1, err)
			}
		}
		return w.sql(fmt.Sprintf("PRAGMA user_version = %d", latest))
	})
}

// copyBefore writes a consistent copy. It gets its name once it is complete, so a
// copy that was interrupted is never taken for one. It takes the place of an older
// one of the same version: what is to be kept is the file as it is now.
func (w *writer) copyBefore(path string, version int) (string, error) {
	name := fmt.Sprintf("%s.v%d", path, version)
	part := name + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if _, err := w.conn.ExecContext(background, "VACUUM INTO ?", part); err != nil {
		return "", err
	}
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := errors.Join(f.Chmod(0o600), f.Sync()); err != nil {
		return "", err
	}
	if err := os.Rename(part, name); err != nil {
		return "", err
	}
	return name, syncDir(filepath.Dir(name))
}

// migrateTables runs the versions of the functions' tables that the file lacks, in
// one transaction. tables are in order of version for each function.
func (w *writer) migrateTables(tables []Tables) error {
	if len(tables) == 0 {
		return nil
	}
	return w.fenced(func() error {
		latest := map[string]int{}
		for _, t := range tables {
			have, err := w.q0().TableVersion(background, t.Function)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("read version of %s's tables: %w", t.Function, err)
			}
			latest[t.Function] = max(latest[t.Function], t.Version)
			if int64(t.Version) <= have {
				continue
			}
			if err := w.sql(t.SQL); err != nil {
				return fmt.Errorf("tables of %s, version %d: %w", t.Function, t.Version, err)
			}
			if !w.handle.inTransaction() {
				return fmt.Errorf("tables of %s, version %d: the SQL must not end the transaction", t.Function, t.Version)
			}
			err = w.q0().SaveTableVersion(background, q.SaveTableVersionParams{Function: t.Function, Version: int64(t.Version)})
			if err != nil {
				return fmt.Errorf("save version of %s's tables: %w", t.Function, err)
			}
		}
		for function, version := range latest {
			have, err := w.q0().TableVersion(background, function)
			if err != nil {
				return fmt.Errorf("read version of %s's tables: %w", function, err)
			}
			if have > int64(version) {
				return fmt.Errorf("tables of %s: the file has version %d, this binary knows %d", function, have, version)
			}
		}
		return nil
	})
}
