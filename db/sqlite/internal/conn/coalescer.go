package conn

import (
	"errors"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// coalescer makes one write of what SQLite writes into the WAL in two pieces a page,
// its header and its content. It stands between SQLite and its VFS for this one file
// of the write connection. What it holds back is one stretch of the file and is
// written before the next read or sync, so that SQLite never sees a difference; nobody
// else does either: readers are shown a commit after its sync, and with synchronous
// FULL every commit has one. What was rolled back is dropped: its place may be another
// process's by then.
// https://www.sqlite.org/c3ref/io_methods.html
type coalescer struct {
	file    *sqlite3.Tsqlite3_file
	base    uintptr // the VFS's methods
	methods uintptr // ours, in C's memory
	vfs     walMethods
	ours    walMethods // kept alive here, as is rolled: C's pointers don't
	rolled  func(tls *libc.TLS, arg uintptr)

	held   []byte // C's memory
	n      int    // how much of it
	off    int64  // its place in the file
	failed int32  // the result of a write that failed: all others fail until the rollback
	size   int64  // of the file, as far as it is ours
}

// walMethods are those methods of the WAL's file that SQLite calls in a transaction.
type walMethods struct {
	read, write func(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32
	sync        func(tls *libc.TLS, file uintptr, flags int32) int32
}

// maxHeld is how much is held back at most, in bytes: 31 pages of ours, and more than
// any page has. SQLite's VFS for Unix can't write more at once.
const maxHeld = 1<<17 - 1

// growBy is by how much the file grows at least, in bytes. A sync of a file that has
// grown also waits for its new length, which costs as much again: so not each of the
// first commits pays for it, until the WAL is as long as it gets.
const growBy = 512 << 10

// CoalesceWAL makes one write of what a commit writes into the WAL, which must be open.
func (c *Conn) CoalesceWAL() (err error) {
	c.coalescer, err = newCoalescer(c)
	return err
}

// newCoalescer takes its place before the WAL, which must be open.
func newCoalescer(conn *Conn) (*coalescer, error) {
	at := conn.tls.Alloc(int(unsafe.Sizeof(uintptr(0))))
	defer conn.tls.Free(int(unsafe.Sizeof(uintptr(0))))
	// https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntljournalpointer
	if rc := sqlite3.Xsqlite3_file_control(conn.tls, conn.db, 0, sqlite3.SQLITE_FCNTL_JOURNAL_POINTER, at); rc != sqlite3.SQLITE_OK {
		return nil, conn.failure(rc)
	}
	c := &coalescer{file: (*sqlite3.Tsqlite3_file)(pointer(*(*uintptr)(pointer(at))))}
	if c.file == nil || c.file.FpMethods == 0 {
		return nil, errors.New("the WAL is not open")
	}
	c.base = c.file.FpMethods
	size := unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})
	if c.methods = libc.Xmalloc(conn.tls, libc.Tsize_t(size+maxHeld)); c.methods == 0 {
		return nil, errors.New("no memory for the WAL's writes")
	}
	c.held = unsafe.Slice((*byte)(pointer(c.methods+size)), maxHeld)

	m := (*sqlite3.Tsqlite3_io_methods)(pointer(c.methods))
	*m = *(*sqlite3.Tsqlite3_io_methods)(pointer(c.base))
	c.ours = walMethods{c.read, c.write, c.sync}
	replace(&m.FxRead, &c.vfs.read, c.ours.read)
	replace(&m.FxWrite, &c.vfs.write, c.ours.write)
	replace(&m.FxSync, &c.vfs.sync, c.ours.sync)
	c.file.FpMethods = c.methods

	c.rolled = func(*libc.TLS, uintptr) { c.n, c.failed = 0, sqlite3.SQLITE_OK }
	// https://www.sqlite.org/c3ref/commit_hook.html
	sqlite3.Xsqlite3_rollback_hook(conn.tls, conn.db, address(c.rolled), 0)
	return c, nil
}

// replace puts a function in a C pointer's place and keeps the one that was there.
func replace[F any](at *uintptr, was *F, is F) {
	*was = *(*F)(unsafe.Pointer(at))
	*at = address(is)
}

// address returns C's pointer to a Go function, which is the function value itself, as
// modernc.org/libc lays it out.
func address[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// close gives the file and the hook's place back: the connection outlives us in its
// closing.
func (c *coalescer) close(conn *Conn) {
	sqlite3.Xsqlite3_rollback_hook(conn.tls, conn.db, 0, 0)
	c.file.FpMethods = c.base
	libc.Xfree(conn.tls, c.methods)
}

func (c *coalescer) write(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	if off != c.off+int64(c.n) || c.n+int(n) > len(c.held) {
		if rc := c.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
		c.off = off
	}
	c.n += copy(c.held[c.n:], unsafe.Slice((*byte)(pointer(buf)), n))
	return sqlite3.SQLITE_OK
}

// flush writes what is held back.
func (c *coalescer) flush(tls *libc.TLS, file uintptr) int32 {
	if c.n > 0 && c.failed == sqlite3.SQLITE_OK {
		c.failed = c.vfs.write(tls, file, uintptr(unsafe.Pointer(&c.held[0])), int32(c.n), c.off)
		if end := c.off + int64(c.n); end > c.size && c.failed == sqlite3.SQLITE_OK {
			c.grow(tls, file, end)
		}
		c.n = 0
	}
	return c.failed
}

// grow fills the file with zeros behind end, where there is no valid frame: the connection
// holds the write lock. No frame begins with a zero, so recovery after a crash ends at the
// first one. If the disk has no room, the file doesn't grow.
// https://www.sqlite.org/fileformat2.html#walformat
func (c *coalescer) grow(tls *libc.TLS, file uintptr, end int64) {
	clear(c.held)
	for c.size = end; c.size < end+growBy; c.size += int64(len(c.held)) {
		if c.vfs.write(tls, file, uintptr(unsafe.Pointer(&c.held[0])), int32(len(c.held)), c.size) != sqlite3.SQLITE_OK {
			return
		}
	}
}

func (c *coalescer) read(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	if rc := c.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return c.vfs.read(tls, file, buf, n, off)
}

func (c *coalescer) sync(tls *libc.TLS, file uintptr, flags int32) int32 {
	if rc := c.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return c.vfs.sync(tls, file, flags)
}
