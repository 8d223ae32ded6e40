package api

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// drainSpool takes all that is in s.
func drainSpool(t *testing.T, s *spool) []byte {
	t.Helper()
	var all []byte
	for p := make([]byte, 1000); ; {
		n, _, err := s.take(p)
		all = append(all, p[:n]...)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What is put comes out in order, through memory and file, and leaves nothing behind.
func TestSpool(t *testing.T) {
	folder := t.TempDir()
	all := &spools{folder: folder, stall: time.Second}
	s := all.open()
	var want []byte
	put := func(n int, c byte) {
		t.Helper()
		p := bytes.Repeat([]byte{c}, n)
		if err := s.put(p); err != nil {
			t.Fatal(err)
		}
		want = append(want, p...)
	}
	put(10, 'a')
	if s.file != nil {
		t.Error("a little needs a file")
	}
	put(spoolMemory, 'b')
	put(3, 'c')
	if all.bytes.Load() != spoolMemory+3 {
		t.Errorf("%d bytes are counted", all.bytes.Load())
	}
	if left, _ := filepath.Glob(folder + "/*"); len(left) > 0 {
		t.Errorf("a crash would leave %v", left)
	}
	var got []byte
	for p := make([]byte, 700); len(got) < len(want); {
		n, more, err := s.take(p)
		if got = append(got, p[:n]...); err != nil || more != (len(got) < len(want)) {
			t.Fatalf("after %d of %d bytes: more %t, %v", len(got), len(want), more, err)
		}
	}
	put(5, 'd') // the file is empty: memory again
	if all.bytes.Load() != 0 || len(s.memory) != 5 {
		t.Errorf("%d bytes in files, %d in memory", all.bytes.Load(), len(s.memory))
	}
	put(spoolMemory, 'e')
	s.putLast([]byte("last"))
	s.end()
	got = append(got, drainSpool(t, s)...)
	if want = append(want, "last"...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out, want %d", len(got), len(want))
	}
	s.close()
	if err := s.put([]byte("x")); !errors.Is(err, errGone) || all.bytes.Load() != 0 {
		t.Errorf("after its end: %v, %d bytes", err, all.bytes.Load())
	}
}

// A spool that is full waits while its client reads, and gives up where it doesn't.
func TestSpoolIsBounded(t *testing.T) {
	for name, all := range map[string]*spools{
		"no file can be made":  {folder: filepath.Join(t.TempDir(), "none"), stall: time.Minute},
		"the files are full":   {folder: t.TempDir(), stall: time.Minute},
		"the disk has no room": {folder: t.TempDir(), stall: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := all.open()
				switch name {
				case "the files are full":
					all.bytes.Store(spoolFiles)
				case "the disk has no room":
					full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
					if err != nil {
						t.Skip(err)
					}
					s.file = full
				}
				block := bytes.Repeat([]byte("x"), spoolMemory)
				if err := s.put(block); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				go func() { // reads twice, and then no more
					for range 2 {
						time.Sleep(40 * time.Second)
						_, _, _ = s.take(make([]byte, 100))
					}
				}()
				if err := s.put(block); !errors.Is(err, errUnread) || time.Since(began) != 140*time.Second {
					t.Errorf("%v after %v, want %v after 140 s", err, time.Since(began), errUnread)
				}
				s.putLast([]byte("last"))
				s.end()
				if all := drainSpool(t, s); string(all[len(all)-4:]) != "last" || len(all) != spoolMemory-200+4 {
					t.Errorf("%d bytes came out", len(all))
				}
				s.close()
			})
		})
	}
}
