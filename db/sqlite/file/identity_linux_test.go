package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestIdentifyLeavesTimesAlone: a file that is looked at between two writes has the time of
// one that was written just before and is not, of the same tick of the kernel's clock. After os.Stat it would have one of
// its own.
func TestIdentifyLeavesTimesAlone(t *testing.T) {
	dir := t.TempDir()
	for try := range 100 { // a tick may end in between
		seen, unseen := filepath.Join(dir, fmt.Sprint(try, "-seen")), filepath.Join(dir, fmt.Sprint(try, "-unseen"))
		var infos [2]os.FileInfo
		for i, path := range []string{unseen, seen} {
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for range 2 {
				if _, err := f.WriteString("x"); err != nil {
					t.Fatal(err)
				}
				if path != seen {
					continue
				}
				if _, err := identify(path); err != nil {
					t.Fatal(err)
				}
			}
			if infos[i], err = f.Stat(); err != nil {
				t.Fatal(err)
			}
		}
		if id, err := identify(seen); err != nil || id != identityOf(infos[1]) || id.same(identityOf(infos[0])) || id.size != 2 {
			t.Fatalf("%+v %v, of %+v", id, err, identityOf(infos[1]))
		}
		if infos[0].ModTime().Equal(infos[1].ModTime()) {
			return
		}
	}
	t.Error("each write has a time of its own")
}
