package conn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// copyStep is how many pages are copied between two looks at the context.
const copyStep = 256

// CopyPages copies the file of the connection from into the file that to, a DSN, names:
// its pages as they are in from's transaction. left is called with how many are still to
// be copied. https://www.sqlite.org/backup.html
func CopyPages(ctx context.Context, from *sql.Conn, to string, left func(pages int64)) error {
	return from.Raw(func(dc any) (err error) {
		source, ok := dc.(interface {
			NewBackup(to string) (*sqlite.Backup, error)
		})
		if !ok {
			return fmt.Errorf("unexpected driver connection %T", dc)
		}
		b, err := source.NewBackup(to)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.Finish()) }()
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err = b.Step(copyStep); err != nil {
				return err
			}
			left(int64(b.Remaining()))
		}
		return nil
	})
}
