package faultvfs

import (
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Image is the content of a folder by name; nil is a folder.
type Image map[string][]byte

func (f *file) image(content []byte) []byte {
	switch {
	case f.folder:
		return nil
	case content == nil:
		return []byte{}
	}
	return content
}

// sector is what a disk writes as a whole.
const sector = 512

// Cut returns what a power cut leaves now: everything safe, and of the rest what
// happened to be written back: nothing, everything, or any version of each sector.
// SQLite's -shm files are left out, as they hold nothing that may be relied on.
func (d *Disk) Cut(rng *rand.Rand) Image {
	names := maps.Clone(d.safe)
	luck := rng.IntN(3)
	upTo := func(n int) int { // how many of n changes were written back
		switch luck {
		case 0:
			return 0
		case 1:
			return n
		}
		return rng.IntN(n + 1)
	}
	for _, folder := range slices.Sorted(maps.Keys(d.unsafe)) {
		list := d.unsafe[folder]
		for _, e := range list[:upTo(len(list))] {
			apply(names, e)
		}
	}
	img := Image{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if reachable(names, name) && !strings.HasSuffix(name, "-shm") {
			img[name] = names[name].image(names[name].cut(upTo))
		}
	}
	return img
}

// reachable: a file is gone with the folder it was in.
func reachable(names map[string]*file, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if f := names[dir]; f == nil || !f.folder {
			return false
		}
	}
	return true
}

// cut writes each sector back up to a change of its own, and the length likewise.
// A truncation happens as a whole or not at all, and what is written after one that
// did not happen is not there either, unless it went to what the truncation kept: on
// a journalling file system the new place of such bytes is lost with it.
func (f *file) cut(upTo func(int) int) []byte {
	b := slices.Clone(f.safe)
	if len(f.pending) == 0 {
		return b
	}
	var truncations []int
	for i, c := range f.pending {
		if c.data == nil {
			truncations = append(truncations, i)
		}
	}
	first, end := 0, len(f.pending) // of what came after the last truncation that happened
	if n := upTo(len(truncations)); n < len(truncations) {
		end = truncations[n]
		truncations = truncations[:n]
	}
	if n := len(truncations); n > 0 {
		first = truncations[n-1] + 1
	}
	size := int64(len(b))
	for _, c := range f.pending[:first+upTo(end-first)] {
		if c.data == nil {
			size = c.at
		} else {
			size = max(size, c.at+int64(len(c.data)))
		}
	}
	reached := map[int64]int{}
	has := func(s int64, i int) bool { // does sector s have write i
		r, ok := reached[s]
		if !ok {
			r = upTo(len(f.pending))
			reached[s] = r
		}
		return i < r
	}
	kept := int64(math.MaxInt64) // by truncations that did not happen
	for i, c := range f.pending {
		switch {
		case c.data == nil && i < end:
			b = resize(b, c.at)
		case c.data == nil:
			kept = min(kept, c.at)
		default:
			b = c.writeBack(b, kept, func(s int64) bool { return has(s, i) })
		}
	}
	return resize(b, size)
}

// writeBack writes those sectors of c that begin before kept and that do chooses.
func (c change) writeBack(b []byte, kept int64, do func(sector int64) bool) []byte {
	end := c.at + int64(len(c.data))
	for at := c.at; at < end; {
		s := at / sector
		to := min(end, (s+1)*sector)
		if s*sector < kept && do(s) {
			if to > int64(len(b)) {
				b = resize(b, to)
			}
			copy(b[at:to], c.data[at-c.at:to-c.at])
		}
		at = to
	}
	return b
}

// WriteTo makes the folder dir, which must be there, look like the image.
func (img Image) WriteTo(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(img)) {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if img[name] == nil {
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(to, img[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}
