package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"inturn/db"

	"inturn/db/sqlite/file"
)

// Backup makes a consistent copy of a database, also while the server runs.
type Backup struct {
	File  string `arg:"" help:"The copy; - is standard output (it is made and checked in TMPDIR first)."`
	DB    string `name:"db" help:"Database file." default:"data/inturn.db" env:"INTURN_DB"`
	Force bool   `help:"Replace FILE if it is there." env:"INTURN_FORCE"`
	JSON  bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// copyOf is what Backup, Restore and Compact print, in JSON's names.
type copyOf struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	Counts counts `json:"counts"`
	Kept   string `json:"kept,omitempty"`   // the file that a restore has replaced
	Before int64  `json:"before,omitempty"` // bytes, of a file that was compacted
}

// Run returns once the copy has its name and both are on the disk.
func (b Backup) Run(ctx context.Context, out IO, invariants []db.Invariant) error {
	if err := existingFile(b.DB); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	stream, err := streamTo(b.File, out.Out)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	o := copying(out.Err, invariants, b.Force)
	if stream != nil {
		return errors.Join(b.toStream(ctx, stream, o), stream.Close())
	}
	if err := b.mayReplace(); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := file.Backup(ctx, b.DB, b.File, o); err != nil {
		if explained := explainFolder(b.File, err); explained != err {
			return fmt.Errorf("backup: %w", explained)
		}
		return explainCopy(err)
	}
	return printCopy(ctx, out.Out, b.JSON, copyOf{File: b.File}, "checked")
}

func (b Backup) toStream(ctx context.Context, w io.Writer, o file.CopyOptions) error {
	if b.JSON {
		return errors.New("backup: --json would stand in the midst of the copy: name a FILE")
	}
	if stdout, ok := w.(nopCloser); ok && isTerminal(stdout.Writer) {
		return errors.New("backup: standard output is a terminal: redirect it, or name a FILE")
	}
	dir := os.TempDir()
	if info, err := os.Stat(dir); err != nil || !info.IsDir() { // as in an image that has nothing else in it
		dir = filepath.Dir(b.DB)
	}
	return explainCopy(file.BackupTo(ctx, b.DB, dir, w, o))
}

// mayReplace returns an error if FILE is another database and no earlier backup, which
// --force may replace. That a file without --force is not replaced is the storage's.
func (b Backup) mayReplace() error {
	there, err := os.Stat(b.File)
	own, oerr := os.Stat(b.DB)
	if err == nil && oerr == nil && os.SameFile(there, own) {
		return nil // the storage refuses it
	}
	if isBackup(b.File) && besideIt(b.File) == "" {
		return nil
	}
	return notDatabase(b.File)
}

// Restore makes a database from a backup.
type Restore struct {
	File  string `arg:"" help:"The backup. It stays as it is."`
	DB    string `name:"db" help:"Database file to make; its folders are made." default:"data/inturn.db" env:"INTURN_DB"`
	Force bool   `help:"Replace the database if it is there; it is kept beside, under another name." env:"INTURN_FORCE"`
	JSON  bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Run returns once the restored file is in its place and on the disk.
func (r Restore) Run(ctx context.Context, out IO, invariants []db.Invariant) error {
	if err := existingFile(r.File); err != nil {
		return &Hint{Err: fmt.Errorf("restore: %w", err), Hint: "name the copy that `inturn backup` made, and with --db the database to make of it"}
	}
	if IsPostgres(r.DB) {
		return fmt.Errorf("restore: %w", notAFile(r.DB))
	}
	kept, err := file.Restore(ctx, r.File, r.DB, copying(out.Err, invariants, r.Force))
	if err != nil {
		return explainCopy(err)
	}
	return printCopy(ctx, out.Out, r.JSON, copyOf{File: r.DB, Kept: kept}, "checked")
}

// Compact gives the space of deleted rows back to the disk.
type Compact struct {
	DB   string `name:"db" help:"Database file; its server must be stopped." default:"data/inturn.db" env:"INTURN_DB"`
	JSON bool   `help:"Print JSON." env:"INTURN_JSON"`
}

// Run returns once the new file is in its place and on the disk.
func (c Compact) Run(ctx context.Context, out IO, invariants []db.Invariant) error {
	if err := existingFile(c.DB); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	before, _, err := file.Compact(ctx, c.DB, copying(out.Err, invariants, false))
	if err != nil {
		return explainCopy(err)
	}
	return printCopy(ctx, out.Out, c.JSON, copyOf{File: c.DB, Before: before}, "checked")
}

func copying(w io.Writer, invariants []db.Invariant, force bool) file.CopyOptions {
	m := &copyMeter{w: w, shown: time.Now()}
	return file.CopyOptions{Invariants: invariants, Force: force, Progress: m.show}
}

// copyMeter prints every second how far a copy is.
type copyMeter struct {
	w     io.Writer
	shown time.Time
	stage string
}

func (m *copyMeter) show(stage string, done, total int64) {
	now := time.Now()
	switch {
	case total == 0 && stage != m.stage:
		fmt.Fprintln(m.w, stage)
	case total > 0 && now.Sub(m.shown) >= time.Second:
		fmt.Fprintf(m.w, "%s %s of %s\n", stage, iec(done), iec(total))
	default:
		return
	}
	m.stage, m.shown = stage, now
}

func iec(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// printCopy prints what the finished file holds.
func printCopy(ctx context.Context, w io.Writer, asJSON bool, c copyOf, how string) error {
	info, err := os.Stat(c.File)
	if err != nil {
		return err
	}
	n, err := count(ctx, c.File)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	c.Bytes, c.Counts = info.Size(), *n
	if asJSON {
		return json.NewEncoder(w).Encode(c)
	}
	size := iec(c.Bytes)
	if c.Before > 0 {
		size = iec(c.Before) + " before, " + size + " now"
	}
	if _, err := fmt.Fprintf(w, "%s: %d events of %d accounts, %d of them pending; %s, %s\n",
		printable(c.File), n.Events, n.Accounts, n.Pending, size, how); err != nil || c.Kept == "" {
		return err
	}
	_, err = fmt.Fprintf(w, "the file that was there is now %s\n", printable(c.Kept))
	return err
}

// explainCopy adds to the error of a copy a hint for people.
func explainCopy(err error) error {
	var hint string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, file.ErrRestoring):
		hint = "run `inturn restore --force` again; what was there is kept beside, as .before-…"
	case errors.Is(err, file.ErrExists):
		hint = "choose another name, or replace it with --force"
	case errors.Is(err, file.ErrInUse):
		hint = "stop that process first; readers such as a database shell or Litestream too"
	case errors.Is(err, db.ErrStorageFull):
		hint = "make room there, or choose another disk; nothing has changed"
	case errors.Is(err, file.ErrUnsound), errors.Is(err, db.ErrCorrupt):
		hint = "see what `inturn check` says of the file that was copied; keep it as it is, with its -wal"
	default:
		return ExplainFile(err)
	}
	return &Hint{Err: err, Hint: hint}
}

func isLinks(err error) bool {
	_, ok := errors.AsType[*file.LinksError](err)
	return ok
}

// ExplainFile adds to the refusal of a file that isn't inturn's, or is of another version,
// a hint for people. Every command and the server say it in the same words.
func ExplainFile(err error) error {
	var hint string
	switch {
	case errors.Is(err, file.ErrWALAlone):
		hint = "put the file back beside its -wal; or `inturn restore --force` a backup, which keeps the -wal; or move the -wal away to begin anew"
	case errors.Is(err, file.ErrWALOfAnother):
		hint = "put back the file that its -wal was written beside, or move the -wal to the file that it belongs to; `inturn restore --force` of a backup keeps both. Nothing was changed"
	case isLinks(err):
		hint = "remove the names that aren't needed (find DIR -samefile FILE shows all), or copy the file, with its -wal, under a name of its own"
	case errors.Is(err, file.ErrEmpty):
		hint = "name the file that the server has, with --db or INTURN_DB; `inturn serve` makes a new one of an empty file"
	case errors.Is(err, file.ErrUnmarked):
		hint = file.WayBack
	case errors.Is(err, db.ErrForeign):
		hint = "name inturn's own file, or for serve a new one, with --db or INTURN_DB"
	case errors.Is(err, db.ErrNewer):
		hint = "run that newer version, or restore a backup from before it"
	case errors.Is(err, file.ErrOlder):
		hint = "`inturn serve` migrates it when it starts; until then use the version that wrote it"
	case errors.Is(err, db.ErrStorageFull):
		hint = "make room on the disk of the database: a start takes 2 MiB at most"
	case errors.Is(err, db.ErrCorrupt):
		hint = "keep a copy of the file as it is, with its -wal, or restore a backup; if it never was inturn's, name another with --db"
	default:
		return err
	}
	return &Hint{Err: err, Hint: hint}
}
