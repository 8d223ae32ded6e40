package proofs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"inturn/db"
	"inturn/db/sqlite"
	"inturn/db/sqlite/file"
	"inturn/internal/faultvfs"
)

// faultTable is the table of errors in docs/design/storage.md: what fails and
// where, the error of the caller, and whether the process ends.
var faultTable = []struct {
	at    string // the step that meets the fault
	fault string
	told  error // nil: success; errAny: some error
	ends  bool  // Failed is closed, and the process ends with exit status 1
}{
	{"append", "ENOSPC on write", db.ErrStorageFull, false},
	{"append", "EDQUOT on write", db.ErrStorageFull, false},
	{"append", "EIO on write", db.ErrOutcomeUnknown, true},
	{"append", "EIO on fsync", db.ErrOutcomeUnknown, true},
	// What was written may survive although it could not be synced for want of space.
	{"append", "ENOSPC on fsync", db.ErrOutcomeUnknown, true},
	{"append", "EDQUOT on fsync", db.ErrOutcomeUnknown, true},

	// Kept and tried again each second.
	{"settle", "ENOSPC on write", nil, false},
	{"settle", "EDQUOT on write", nil, false},
	// The file decides after the restart.
	{"settle", "EIO on write", db.ErrOutcomeUnknown, true},
	{"settle", "EIO on fsync", db.ErrOutcomeUnknown, true},
	{"settle", "ENOSPC on fsync", db.ErrOutcomeUnknown, true},

	// The WAL keeps everything, and the next checkpoint tries again.
	{"checkpoint", "ENOSPC on write", nil, false},
	{"checkpoint", "EDQUOT on write", nil, false},
	{"checkpoint", "EIO on write", nil, false},
	{"checkpoint", "EIO on fsync", nil, false},

	// No file gets the copy's name, none is left over, and the server does not notice.
	{"backup copy", "ENOSPC on write", errAny, false},
	{"backup copy", "EDQUOT on write", errAny, false},
	{"backup copy", "EIO on write", errAny, false},
	{"backup copy", "EIO on fsync", errAny, false},
	{"backup copy", "ENOSPC on fsync", errAny, false},

	// It doesn't start.
	{"first start", "ENOSPC on write", errAny, true},
	{"first start", "EDQUOT on write", errAny, true},
	{"first start", "EIO on write", errAny, true},
	{"first start", "EIO on fsync", errAny, true},
	{"ownership", "ENOSPC on write", errAny, true},
	{"ownership", "EDQUOT on write", errAny, true},
	{"ownership", "EIO on write", errAny, true},
	{"ownership", "EIO on fsync", errAny, true},
	// It starts without: the WAL keeps everything.
	{"start's checkpoint", "ENOSPC on write", nil, false},
	{"start's checkpoint", "EDQUOT on write", nil, false},
	{"start's checkpoint", "EIO on write", errAny, true},
	{"start's checkpoint", "EIO on fsync", errAny, true},

	{"migration's copy", "ENOSPC on write", errAny, true},
	{"migration's copy", "EDQUOT on write", errAny, true},
	{"migration's copy", "EIO on write", errAny, true},
	{"migration's copy", "EIO on fsync", errAny, true},
	{"migration", "ENOSPC on write", errAny, true},
	{"migration", "EDQUOT on write", errAny, true},
	{"migration", "EIO on write", errAny, true},
	{"migration", "EIO on fsync", errAny, true},

	// It ends, and says so unless the disk is only full: the next start takes the WAL over.
	{"close", "ENOSPC on write", nil, true},
	{"close", "EDQUOT on write", nil, true},
	{"close", "EIO on write", errAny, true},
	{"close", "EIO on fsync", errAny, true},
	{"close's checkpoint", "ENOSPC on write", nil, true},
	{"close's checkpoint", "EDQUOT on write", nil, true},
	{"close's checkpoint", "EIO on write", errAny, true},
	{"close's checkpoint", "EIO on fsync", errAny, true},
}

var errAny = errors.New("any error")

var faults = map[string]faultvfs.Fault{
	"ENOSPC on write": {Op: faultvfs.Write, Errno: syscall.ENOSPC},
	"EDQUOT on write": {Op: faultvfs.Write, Errno: syscall.EDQUOT},
	"EIO on write":    {Op: faultvfs.Write, Errno: syscall.EIO},
	"EIO on fsync":    {Op: faultvfs.Sync, Errno: syscall.EIO},
	"ENOSPC on fsync": {Op: faultvfs.Sync, Errno: syscall.ENOSPC},
	"EDQUOT on fsync": {Op: faultvfs.Sync, Errno: syscall.EDQUOT},
}

// TestFaults: each row of the table; then a restart on the same files, and on what a
// power cut leaves of them, where nothing that was answered is missing, an unknown
// outcome is resolved by sending the same event again, and Verify agrees.
func TestFaults(t *testing.T) {
	for _, row := range faultTable {
		t.Run(row.at+"/"+row.fault, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			steps := map[string]func(faultvfs.Fault) error{
				"append": f.append, "settle": f.settle, "checkpoint": f.checkpoint, "backup copy": f.backup, "first start": f.start,
				"ownership": f.ownership, "start's checkpoint": f.startCheckpoint, "close": f.close, "close's checkpoint": f.closeCheckpoint,
				"migration's copy": f.migrationCopy, "migration": f.migration,
			}
			switch row.at {
			case "first start":
			case "migration's copy", "migration":
				f.prepareOld()
			default:
				f.prepare()
			}
			told := steps[row.at](faults[row.fault])
			if f.watched.Clear() == 0 {
				t.Error("the fault was never met")
			}
			if row.told == errAny && told == nil || row.told != errAny && !errors.Is(told, row.told) {
				t.Errorf("told %v, want %v", told, row.told)
			}
			f.judgeState(row.ends, row.told)

			c := newCuts(t)
			c.at("power cut", f.known.copy(), f.watched.Cut)
			if f.store != nil {
				f.store.Close()
			}
			reportWrong(t, judgeFile(t.Context(), f.path, f.known, f.all))
			reportWrong(t, c.judge(t, "inturn.db", f.all, 10))
		})
	}
}

// faulty is a database on a disk that is made to fail.
type faulty struct {
	*testing.T
	watched *faultvfs.Watched
	path    string
	store   *sqlite.DB // nil while closed
	known   *book
	all     []appended
}

func newFaulty(t *testing.T) *faulty {
	w, dir := watch(t)
	return &faulty{T: t, watched: w, path: filepath.Join(dir, "inturn.db"), known: newBook(), all: scriptIDs()}
}

// prepare leaves answered, settled and pending events in the file.
func (f *faulty) prepare() {
	f.Helper()
	f.open()
	for _, ev := range f.all[:4] {
		f.mustAppend(ev)
	}
	if err := settleHead(f.Context(), f.store, "a", f.known, func() {}); err != nil {
		f.Fatal(err)
	}
}

func (f *faulty) open() {
	f.Helper()
	var err error
	if f.store, err = openStore(f.Context(), f.path); err != nil {
		f.Fatal(err)
	}
	d := f.store
	f.Cleanup(func() { d.Close() })
}

func (f *faulty) mustAppend(ev appended) {
	f.Helper()
	r, err := f.offer(ev)
	if err != nil {
		f.Fatal(err)
	}
	f.known.answered(ev.id, r.Seq)
}

// offer appends an event, and again while it is refused for overload, as senders do: on a
// slow machine a checkpoint of many megabytes takes longer than an append may wait.
func (f *faulty) offer(ev appended) (r db.Receipt, err error) {
	f.Helper()
	eventually(f, "an append that is not refused for overload", func() bool {
		r, err = f.store.Append(f.Context(), ev.Event)
		return !errors.Is(err, db.ErrOverloaded)
	})
	return r, err
}

// judgeState looks at the process after the fault was met and, where it goes on, at
// how it goes on once the fault is gone.
func (f *faulty) judgeState(ends bool, told error) {
	f.Helper()
	if f.store == nil { // it did not start, or has ended
		return
	}
	select {
	case <-f.store.Failed():
		if !ends {
			f.Fatalf("the process ends: %v", f.store.Err())
		}
		if err := f.store.Ready(); !errors.Is(err, db.ErrUnavailable) {
			f.Errorf("ready: %v", err)
		}
		if _, err := f.store.Append(f.Context(), f.all[8].Event); !errors.Is(err, db.ErrUnavailable) {
			f.Errorf("a later append: %v", err)
		}
	default:
		if ends {
			f.Fatal("the process goes on")
		}
		if errors.Is(told, db.ErrStorageFull) && !errors.Is(f.store.Ready(), db.ErrStorageFull) {
			f.Errorf("ready: %v", f.store.Ready())
		}
		if _, err := f.store.Find(f.Context(), "a", "0"); err != nil {
			f.Errorf("reads are not served: %v", err)
		}
		eventually(f, "being ready again", func() bool { return f.store.Ready() == nil })
		for _, ev := range f.all[8:10] {
			f.mustAppend(ev)
		}
	}
}

func (f *faulty) append(fault faultvfs.Fault) error {
	fault.Kind = faultvfs.WAL
	f.watched.Inject(fault)
	r, err := f.store.Append(f.Context(), f.all[4].Event)
	if err == nil {
		f.known.answered(f.all[4].id, r.Seq)
	}
	return err
}

// settle returns the error of the settle, which where it waits comes after the fault is
// gone.
func (f *faulty) settle(fault faultvfs.Fault) error {
	fault.Kind = faultvfs.WAL
	f.watched.Inject(fault)
	done := make(chan error, 1)
	go func() { done <- settleHead(f.Context(), f.store, "a", f.known, func() {}) }()
	if fault.Op == faultvfs.Sync || fault.Errno == syscall.EIO {
		return f.wait(done)
	}
	eventually(f, "a second try, or the settle's end", func() bool { return f.watched.Hits() >= 2 || len(done) > 0 })
	if len(done) > 0 {
		return fmt.Errorf("the settle ended while the disk was full: %w", <-done)
	}
	if err := f.store.Ready(); !errors.Is(err, db.ErrStorageFull) {
		f.Errorf("ready while the disk is full: %v", err)
	}
	f.watched.Stop()
	if err := f.wait(done); err != nil {
		return err
	}
	s, err := f.store.Find(f.Context(), "a", "1")
	if err != nil || s.State != db.Done || s.Result.Attempts != 1 {
		f.Errorf("settled as %+v, %v: it is to count one attempt", s.Result, err)
	}
	return nil
}

// wait bounds the wait for a settle that the disk may hold up for ever.
func (f *faulty) wait(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("the settle does not end")
	}
}

// checkpoint appends large events, which make the WAL long enough for a checkpoint to
// follow a commit, and one of them again, which is answered after that.
func (f *faulty) checkpoint(fault faultvfs.Fault) error {
	fault.Kind = faultvfs.Main
	f.watched.Inject(fault)
	large := []byte(`"` + strings.Repeat("x", 3<<20) + `"`)
	for i := 10; i < len(f.all); i++ {
		f.all[i].Payload = large
		r, err := f.offer(f.all[i])
		if err != nil {
			return err
		}
		f.known.answered(f.all[i].id, r.Seq)
	}
	_, err := f.offer(f.all[len(f.all)-1])
	return err
}

// backup copies the file of the open database, onto a disk that fails in its middle.
func (f *faulty) backup(fault faultvfs.Fault) error {
	f.checkpoint(faultvfs.Fault{Op: faultvfs.Delete}) // so that the copy takes many steps
	f.watched.Clear()
	fault.Kind, fault.Suffix = faultvfs.Main, ".part"
	if fault.Op == faultvfs.Write {
		fault.After = 300
	}
	f.watched.Inject(fault)
	copied := filepath.Join(filepath.Dir(f.path), "copy.db")
	before := []byte("an older copy")
	if err := os.WriteFile(copied, before, 0o600); err != nil {
		f.Fatal(err)
	}
	err := file.Backup(f.Context(), f.path, copied, file.CopyOptions{Force: true})
	if full := errors.Is(err, db.ErrStorageFull); full != (fault.Errno == syscall.ENOSPC && fault.Op == faultvfs.Write) {
		f.Errorf("told %v", err)
	}
	if after, err := os.ReadFile(copied); err != nil || !bytes.Equal(before, after) {
		f.Errorf("the older copy has %d bytes now (%v)", len(after), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), "*.part*")); err != nil || len(left) > 0 {
		f.Errorf("left behind: %q, %v", left, err)
	}
	f.watched.Stop()
	if err := file.Backup(f.Context(), f.path, copied, file.CopyOptions{Force: true}); err != nil {
		f.Errorf("with a disk that works: %v", err)
	}
	if violations, err := file.Verify(f.Context(), copied, nil); err != nil || len(violations) > 0 {
		f.Errorf("that copy: %v, %v", violations, err)
	}
	return err
}

// start opens the file and expects that it can't be.
func (f *faulty) start(fault faultvfs.Fault) error {
	f.watched.Inject(fault)
	d, err := openStore(f.Context(), f.path)
	if err == nil {
		d.Close()
	}
	return err
}

func (f *faulty) ownership(fault faultvfs.Fault) error {
	f.leave()
	fault.Kind = faultvfs.WAL
	return f.start(fault)
}

func (f *faulty) startCheckpoint(fault faultvfs.Fault) error {
	f.leave()
	fault.Kind = faultvfs.Main
	return f.start(fault)
}

// leave goes on with what a kill would leave: a WAL that is not checkpointed.
func (f *faulty) leave() {
	f.Helper()
	dir := f.TempDir()
	w, stop, err := f.watched.Fork(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(stop)
	f.store.Close()
	f.store, f.watched, f.path = nil, w, filepath.Join(dir, "inturn.db")
}

func (f *faulty) close(fault faultvfs.Fault) error {
	fault.Kind = faultvfs.WAL
	return f.end(fault)
}

func (f *faulty) closeCheckpoint(fault faultvfs.Fault) error {
	fault.Kind = faultvfs.Main
	return f.end(fault)
}

func (f *faulty) end(fault faultvfs.Fault) error {
	f.watched.Inject(fault)
	err := f.store.Close()
	f.store = nil
	return err
}
