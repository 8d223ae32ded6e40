package tls

import (
	"context"
	"sync"

	"github.com/caddyserver/certmagic"
)

// storage is the library's folder with locks of this process. The library's own locks are
// files, which a process that is killed while it waits for the authority leaves behind,
// and which are rewritten every few seconds. One process has the folder, as it has the
// database.
type storage struct {
	*certmagic.FileStorage

	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is released
}

func newStorage(dir string) *storage {
	return &storage{FileStorage: &certmagic.FileStorage{Path: dir}, held: map[string]chan struct{}{}}
}

// Lock implements certmagic.Locker.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		released := s.try(name)
		if released == nil {
			return nil
		}
		select {
		case <-released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (s *storage) TryLock(_ context.Context, name string) (bool, error) {
	return s.try(name) == nil, nil
}

// try takes the lock, or returns what is closed when its holder releases it.
func (s *storage) try(name string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if released, ok := s.held[name]; ok {
		return released
	}
	s.held[name] = make(chan struct{})
	return nil
}

// Unlock implements certmagic.Locker.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if released, ok := s.held[name]; ok {
		delete(s.held, name)
		close(released)
	}
	return nil
}
