// Package faultvfs is SQLite's own VFS with a witness and a saboteur in it. It is
// for tests only: no product package may import it.
//
// Watch begins to watch a folder. SQLite's files in it that are opened after that are
// written as ever, and a Disk keeps what a power cut would leave of the folder; writes,
// syncs, truncations, reads and openings can be made to fail. Files elsewhere are not
// touched. The VFS becomes the process's default one, so the code under test opens its
// database as it always does.
package faultvfs

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

type (
	openFn     = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32
	deleteFn   = func(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32
	closeFn    = func(tls *libc.TLS, file uintptr) int32
	readFn     = func(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32
	writeFn    = func(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32
	truncateFn = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFn     = func(tls *libc.TLS, file uintptr, flags int32) int32
	shmLockFn  = func(tls *libc.TLS, file uintptr, slot, n, flags int32) int32
	openDirFn  = func(tls *libc.TLS, name, fd uintptr) int32
	getCallFn  = func(tls *libc.TLS, vfs, name uintptr) uintptr
	setCallFn  = func(tls *libc.TLS, vfs, name, call uintptr) int32
)

// pointer returns C's pointer to a Go function, as modernc.org/libc lays it out, and
// function does the reverse.
func pointer[F any](f F) uintptr  { return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) }
func function[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p})) }

// at returns what is at an address in C's memory.
func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// vfs is the registered VFS. SQLite has one list of VFSs for the whole process, so this
// is the only global state.
var vfs struct {
	once    sync.Once
	base    *sqlite3.Tsqlite3_vfs
	openDir openDirFn

	mu      sync.Mutex
	watches map[string]*Watched // by folder
	files   map[uintptr]*open   // by sqlite3_file
	shims   map[uintptr]uintptr // io_methods to ours
	synced  map[*libc.TLS]bool  // a folder was opened to be synced
}

// open is a file that SQLite has open.
type open struct {
	watched *Watched
	name    string
	kind    Kind
	methods *sqlite3.Tsqlite3_io_methods // the base's
}

func register() {
	vfs.watches, vfs.files = map[string]*Watched{}, map[uintptr]*open{}
	vfs.shims, vfs.synced = map[uintptr]uintptr{}, map[*libc.TLS]bool{}
	tls := libc.NewTLS()
	base := sqlite3.Xsqlite3_vfs_find(tls, 0)
	vfs.base = at[sqlite3.Tsqlite3_vfs](base)

	// SQLite syncs a new journal's folder inside xSync, where only this shows it.
	name, err := libc.CString("openDirectory")
	if err != nil {
		panic(err)
	}
	vfs.openDir = function[openDirFn](function[getCallFn](vfs.base.FxGetSystemCall)(tls, base, name))
	if rc := function[setCallFn](vfs.base.FxSetSystemCall)(tls, base, name, pointer[openDirFn](xOpenDirectory)); rc != 0 {
		panic(rc)
	}

	p := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*vfs.base)))
	v := at[sqlite3.Tsqlite3_vfs](p)
	*v = *vfs.base
	if v.FzName, err = libc.CString("faultvfs"); err != nil {
		panic(err)
	}
	v.FpNext, v.FxOpen, v.FxDelete = 0, pointer[openFn](xOpen), pointer[deleteFn](xDelete)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 1); rc != 0 {
		panic(rc)
	}
}

// find returns the Watched whose folder a file is in, and the file's name there.
func find(file string) (*Watched, string) {
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	for root, w := range vfs.watches {
		if rest, ok := strings.CutPrefix(file, root+string(filepath.Separator)); ok {
			return w, filepath.ToSlash(rest)
		}
	}
	return nil, ""
}

func opened(file uintptr) *open {
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	return vfs.files[file]
}

func xOpen(tls *libc.TLS, v, name, file uintptr, flags int32, out uintptr) int32 {
	base := function[openFn](vfs.base.FxOpen)
	if name == 0 { // a temporary file
		return base(tls, v, name, file, flags, out)
	}
	full := libc.GoString(name)
	w, rel := find(full)
	if w == nil {
		return base(tls, v, name, file, flags, out)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &open{watched: w, name: rel, kind: kindOf(flags)}
	if errno := w.fault(Event{Op: Open, Kind: o.kind, Name: rel}); errno != 0 {
		return fail(tls, errno, sqlite3.SQLITE_CANTOPEN)
	}
	_, err := os.Lstat(full)
	known, there := w.disk.Has(rel), err == nil
	if !known && there { // made by others; nobody has it open yet, or it would be known
		content, err := os.ReadFile(full)
		if err != nil {
			return sqlite3.SQLITE_CANTOPEN
		}
		w.disk.Adopt(rel, content)
	}
	if !there && flags&sqlite3.SQLITE_OPEN_CREATE != 0 {
		w.tell(Event{Op: Create, Kind: o.kind, Name: rel})
	}
	if rc := base(tls, v, name, file, flags, out); rc != sqlite3.SQLITE_OK {
		return rc
	}
	if _, err := os.Lstat(full); err == nil && !there {
		w.disk.Create(rel)
	}
	o.shim(tls, file)
	return sqlite3.SQLITE_OK
}

// shim puts our methods in the place of the file's.
func (o *open) shim(tls *libc.TLS, file uintptr) {
	f := at[sqlite3.Tsqlite3_file](file)
	o.methods = at[sqlite3.Tsqlite3_io_methods](f.FpMethods)
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	s, ok := vfs.shims[f.FpMethods]
	if !ok {
		s = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*o.methods)))
		m := at[sqlite3.Tsqlite3_io_methods](s)
		*m = *o.methods
		m.FxClose, m.FxRead, m.FxWrite = pointer[closeFn](xClose), pointer[readFn](xRead), pointer[writeFn](xWrite)
		m.FxTruncate, m.FxSync = pointer[truncateFn](xTruncate), pointer[syncFn](xSync)
		if m.FiVersion >= 2 {
			m.FxShmLock = pointer[shmLockFn](xShmLock)
		}
		vfs.shims[f.FpMethods] = s
	}
	f.FpMethods = s
	vfs.files[file] = o
}

func xClose(tls *libc.TLS, file uintptr) int32 {
	o := opened(file)
	vfs.mu.Lock()
	delete(vfs.files, file)
	vfs.mu.Unlock()
	at[sqlite3.Tsqlite3_file](file).FpMethods = uintptr(unsafe.Pointer(o.methods))
	return function[closeFn](o.methods.FxClose)(tls, file)
}

func xDelete(tls *libc.TLS, v, name uintptr, syncDir int32) int32 {
	base := function[deleteFn](vfs.base.FxDelete)
	w, rel := find(libc.GoString(name))
	if w == nil {
		return base(tls, v, name, syncDir)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(Event{Op: Delete, Name: rel})
	if w.disk.Has(rel) {
		w.disk.Delete(rel)
	}
	rc := base(tls, v, name, syncDir)
	if rc == sqlite3.SQLITE_OK && folderSynced(tls) {
		w.disk.SyncFolder(path.Dir(rel))
	}
	return rc
}

func xRead(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	o := opened(file)
	o.watched.mu.Lock()
	errno := o.watched.fault(Event{Op: Read, Kind: o.kind, Name: o.name})
	o.watched.mu.Unlock()
	if errno != 0 {
		return fail(tls, errno, sqlite3.SQLITE_IOERR_READ)
	}
	return function[readFn](o.methods.FxRead)(tls, file, buf, n, off)
}

func xWrite(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	o := opened(file)
	w := o.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	e := Event{Op: Write, Kind: o.kind, Name: o.name}
	errno := w.fault(e)
	if errno != 0 {
		n /= 2 // a write may fail in its middle
	}
	w.tell(e)
	rc := function[writeFn](o.methods.FxWrite)(tls, file, buf, n, off)
	if rc == sqlite3.SQLITE_OK {
		w.disk.Write(o.name, off, unsafe.Slice(at[byte](buf), n))
	}
	switch errno {
	case 0:
		return rc
	case syscall.ENOSPC: // as SQLite's own VFS does
		return fail(tls, errno, sqlite3.SQLITE_FULL)
	}
	return fail(tls, errno, sqlite3.SQLITE_IOERR_WRITE)
}

func xTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	o := opened(file)
	w := o.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	e := Event{Op: Truncate, Kind: o.kind, Name: o.name}
	if errno := w.fault(e); errno != 0 {
		return fail(tls, errno, sqlite3.SQLITE_IOERR_TRUNCATE)
	}
	w.tell(e)
	rc := function[truncateFn](o.methods.FxTruncate)(tls, file, size)
	if rc == sqlite3.SQLITE_OK {
		w.disk.Truncate(o.name, size)
	}
	return rc
}

func xSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	o := opened(file)
	w := o.watched
	w.mu.Lock()
	defer w.mu.Unlock()
	e := Event{Op: Sync, Kind: o.kind, Name: o.name}
	if errno := w.fault(e); errno != 0 {
		w.disk.FailSync(o.name)
		return fail(tls, errno, sqlite3.SQLITE_IOERR_FSYNC)
	}
	w.tell(e)
	if w.lies != nil && w.lies(e) {
		return sqlite3.SQLITE_OK
	}
	rc := function[syncFn](o.methods.FxSync)(tls, file, flags)
	if rc == sqlite3.SQLITE_OK {
		w.disk.Sync(o.name)
	}
	if folderSynced(tls) {
		w.disk.SyncFolder(path.Dir(o.name))
	}
	return rc
}

// walReadLock0 is WAL_READ_LOCK(0) of SQLite's wal.c. A connection that reads the
// database file alone, without its WAL, holds it, and no checkpoint runs meanwhile.
const walReadLock0 = 3

func xShmLock(tls *libc.TLS, file uintptr, slot, n, flags int32) int32 {
	o := opened(file)
	const exclusive = sqlite3.SQLITE_SHM_LOCK | sqlite3.SQLITE_SHM_EXCLUSIVE
	if flags&exclusive == exclusive && slot == walReadLock0 && o.watched.oldReader.Load() {
		return sqlite3.SQLITE_BUSY
	}
	return function[shmLockFn](o.methods.FxShmLock)(tls, file, slot, n, flags)
}

func xOpenDirectory(tls *libc.TLS, name, fd uintptr) int32 {
	rc := vfs.openDir(tls, name, fd)
	if rc == sqlite3.SQLITE_OK {
		vfs.mu.Lock()
		vfs.synced[tls] = true
		vfs.mu.Unlock()
	}
	return rc
}

// folderSynced reports whether the call of the base that has just ended synced the
// file's folder.
func folderSynced(tls *libc.TLS) bool {
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	s := vfs.synced[tls]
	delete(vfs.synced, tls)
	return s
}

// fail returns rc with the system's error number where SQLite looks for it.
func fail(tls *libc.TLS, errno syscall.Errno, rc int32) int32 {
	*at[int32](libc.X__errno_location(tls)) = int32(errno)
	return rc
}
