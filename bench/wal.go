package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// walIndex is the first copy of the header of the file -shm, in the machine's byte order. https://www.sqlite.org/walformat.html#the_wal_index_header
type walIndex struct {
	changes  uint32 // grows by one with each commit
	pageSize uint32
	frames   uint32 // valid ones in the WAL
	salt     uint32 // grows by one each time the WAL starts from its beginning
}

func readWALIndex(header []byte) (walIndex, error) {
	if len(header) < 40 || header[12] == 0 {
		return walIndex{}, errors.New("the index of the WAL is not there")
	}
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(header[at:]) }
	x := walIndex{changes: u32(8), pageSize: uint32(binary.NativeEndian.Uint16(header[14:])), frames: u32(16), salt: u32(32)}
	if x.pageSize == 1 {
		x.pageSize = 65536
	}
	return x, nil
}

// walMeter counts commits and pages of a WAL by reading its index often. Of each cycle of
// the WAL it misses what was written after the last read.
type walMeter struct {
	last    walIndex
	begun   bool
	Bytes   int64
	Commits int64
}

const frameHeader = 24

func (m *walMeter) add(x walIndex) {
	if m.begun {
		frames := int64(x.frames)
		if x.salt == m.last.salt {
			frames -= int64(m.last.frames)
		}
		m.Bytes += max(frames, 0) * int64(x.pageSize+frameHeader)
		m.Commits += int64(x.changes - m.last.changes)
	}
	m.last, m.begun = x, true
}

// meterWAL measures the database at path until stop is called. Opening the file here
// doesn't touch the server's locks, which belong to the server's process.
func meterWAL(ctx context.Context, path string) (stop func() (walMeter, error), err error) {
	f, err := os.Open(path + "-shm")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	var m walMeter
	look := func() error {
		header := make([]byte, 48)
		if _, err := f.ReadAt(header, 0); err != nil {
			return err
		}
		x, err := readWALIndex(header)
		if err == nil {
			m.add(x)
		}
		return err
	}
	if err := look(); err != nil {
		cancel()
		return nil, errors.Join(err, f.Close())
	}
	go func() {
		defer f.Close()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := look(); err != nil {
				done <- err
				return
			}
			select {
			case <-ctx.Done():
				done <- look()
				return
			case <-tick.C:
			}
		}
	}()
	return func() (walMeter, error) {
		cancel()
		err := <-done
		return m, err
	}, nil
}
