package faultvfs

import (
	"maps"
	"path"
	"slices"
)

// Disk is a folder as the kernel shows it and, beside that, as a power cut would
// leave it. It is fed with what a program does (Create, Write, Sync, ...), by the
// VFS or from elsewhere; all names are relative to the folder, with slashes. It is
// not safe for concurrent use.
//
// The rules are those of fsync(2): a file's bytes and its length are safe once the
// file was synced, a name once its folder was. What a failed sync was to make safe
// is lost for good, although the kernel goes on showing it.
type Disk struct {
	names  map[string]*file // that the kernel shows
	safe   map[string]*file // names that survive
	unsafe map[string][]entries
}

// entries is one change of a folder's names, which survives as a whole or not at all.
type entries map[string]*file // nil: the name is gone

// file is a file or a folder.
type file struct {
	folder  bool
	live    []byte   // what the kernel shows
	safe    []byte   // what survives
	pending []change // written since
}

// change is a write, or a truncation where data is nil.
type change struct {
	at   int64 // offset, or the new length
	data []byte
}

// NewDisk returns an empty folder.
func NewDisk() *Disk {
	return &Disk{names: map[string]*file{}, safe: map[string]*file{}, unsafe: map[string][]entries{}}
}

// Has reports whether the kernel shows the name.
func (d *Disk) Has(name string) bool { return d.names[name] != nil }

// Folder reports whether the name is a folder's.
func (d *Disk) Folder(name string) bool { return d.names[name] != nil && d.names[name].folder }

// Adopt takes over a file that was there before the recording and is taken to be safe.
func (d *Disk) Adopt(name string, content []byte) {
	f := &file{live: slices.Clone(content), safe: slices.Clone(content)}
	d.names[name], d.safe[name] = f, f
}

// Create makes an empty file.
func (d *Disk) Create(name string) { d.enter(path.Dir(name), entries{name: {}}) }

// Mkdir makes a folder.
func (d *Disk) Mkdir(name string) { d.enter(path.Dir(name), entries{name: {folder: true}}) }

// Delete removes a name.
func (d *Disk) Delete(name string) { d.enter(path.Dir(name), entries{name: nil}) }

// Rename gives a file of one folder another name there.
func (d *Disk) Rename(from, to string) {
	d.enter(path.Dir(to), entries{from: nil, to: d.names[from]})
}

// Link gives a file of one folder a second name there.
func (d *Disk) Link(from, to string) {
	d.enter(path.Dir(to), entries{to: d.names[from]})
}

func (d *Disk) enter(folder string, e entries) {
	apply(d.names, e)
	d.unsafe[folder] = append(d.unsafe[folder], e)
}

func apply(names map[string]*file, e entries) {
	for name, f := range e {
		if f == nil {
			delete(names, name)
		} else {
			names[name] = f
		}
	}
}

// Write writes data at an offset.
func (d *Disk) Write(name string, at int64, data []byte) {
	d.change(name, change{at, slices.Clone(data)})
}

// Truncate sets a file's length.
func (d *Disk) Truncate(name string, size int64) { d.change(name, change{at: size}) }

// Allocate makes a file at least so long, with zeros after what it holds.
func (d *Disk) Allocate(name string, size int64) {
	if f := d.names[name]; f != nil && size > int64(len(f.live)) {
		d.Truncate(name, size)
	}
}

func (d *Disk) change(name string, c change) {
	if f := d.names[name]; f != nil {
		f.live = c.apply(f.live)
		f.pending = append(f.pending, c)
	}
}

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.at)
	}
	if end := c.at + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.at:], c.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		clear(b[size:]) // what comes after a later growth reads as zeros
		return b[:size]
	}
	b = slices.Grow(b, int(size)-len(b))
	old := len(b)
	b = b[:size]
	clear(b[old:])
	return b
}

// Sync makes a file's content safe.
func (d *Disk) Sync(name string) {
	if f := d.names[name]; f != nil {
		for _, c := range f.pending {
			f.safe = c.apply(f.safe)
		}
		f.pending = nil
	}
}

// FailSync is a sync that failed: what it was to make safe never will be, unless it
// is written again.
func (d *Disk) FailSync(name string) {
	if f := d.names[name]; f != nil {
		f.pending = nil
	}
}

// SyncFolder makes a folder's names safe; "." is the whole.
func (d *Disk) SyncFolder(name string) {
	for _, e := range d.unsafe[name] {
		apply(d.safe, e)
	}
	delete(d.unsafe, name)
}

// Live returns what the kernel shows.
func (d *Disk) Live() Image {
	img := Image{}
	for name, f := range d.names {
		img[name] = f.image(slices.Clone(f.live))
	}
	return img
}

// Clone returns a disk that goes its own way from here.
func (d *Disk) Clone() *Disk {
	files := map[*file]*file{nil: nil}
	clone := func(f *file) *file {
		if c, ok := files[f]; ok {
			return c
		}
		c := &file{folder: f.folder, live: slices.Clone(f.live), safe: slices.Clone(f.safe), pending: slices.Clone(f.pending)}
		files[f] = c
		return c
	}
	all := func(m map[string]*file) map[string]*file {
		m = maps.Clone(m)
		for name, f := range m {
			m[name] = clone(f)
		}
		return m
	}
	c := &Disk{names: all(d.names), safe: all(d.safe), unsafe: map[string][]entries{}}
	for folder, list := range d.unsafe {
		for _, e := range list {
			c.unsafe[folder] = append(c.unsafe[folder], all(e))
		}
	}
	return c
}
