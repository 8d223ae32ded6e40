package tls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// What the library logs reaches slog in one form, bounded, and without keys.
func TestBridge(t *testing.T) {
	book := newLogbook()
	log := bridge(slog.New(slog.NewTextHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug})))
	const pemKey = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE"
	log.Named("obtain").With(zap.String("identifier", "a.example")).Error("will retry", zap.Error(errors.New("no way")),
		zap.Duration("retrying_in", time.Minute), zap.Strings("names", []string{"x", "y"}))
	if find(book.String(), "level=WARN", `msg="certificates: will retry"`, "from=certmagic.obtain", "identifier=a.example", `error="no way"`, "retrying_in=1m0s", `names="x y"`) == "" {
		t.Errorf("log:\n%s", book)
	}
	log.Info("information")
	if find(book.String(), "level=DEBUG", "information") == "" {
		t.Errorf("log:\n%s", book)
	}
	log.Named("obtain").Named("acme_client").Warn("one of many requests")
	log.Error("job failed", zap.Error(fmt.Errorf("obtain: %w", context.Canceled)))
	for _, quiet := range []string{"one of many requests", "job failed"} {
		if find(book.String(), "level=DEBUG", quiet) == "" {
			t.Errorf("%s: log:\n%s", quiet, book)
		}
	}
	log.Warn("secrets "+pemKey, zap.String("private_key", "MHcCAQEE"), zap.ByteString("raw", []byte("MHcCAQEE")), zap.Any("account", map[string]string{"k": "MHcCAQEE"}),
		zap.Any("structure", struct{ K string }{"MHcCAQEE"}), zap.String("note", pemKey), zap.String("nonce", "MHcCAQEE"), zap.Strings("all", []string{pemKey}))
	if strings.Contains(book.String(), "MHcCAQEE") {
		t.Errorf("a key is in the log:\n%s", book)
	}
	before := len(book.String())
	log.Warn("long", zap.String("text", strings.Repeat("é", 100_000)))
	if grown := len(book.String()) - before; grown > 2000 {
		t.Errorf("a line of %d bytes", grown)
	}
	for range 1000 {
		log.Warn("flood")
	}
	if n := strings.Count(book.String(), "flood"); n != 20 {
		t.Errorf("%d lines of a flood", n)
	}
}

func TestStorageLocks(t *testing.T) {
	s := newStorage(t.TempDir())
	ctx := t.Context()
	if err := s.Lock(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.TryLock(ctx, "a"); ok || err != nil {
		t.Errorf("taken twice: %v %v", ok, err)
	}
	if ok, err := s.TryLock(ctx, "b"); !ok || err != nil {
		t.Errorf("another lock is not free: %v %v", ok, err)
	}
	const n = 10
	got := make(chan int)
	for i := range n {
		go func() {
			if err := s.Lock(ctx, "a"); err != nil {
				t.Error(err)
			}
			got <- i
		}()
	}
	seen := map[string]bool{}
	for range n {
		select {
		case i := <-got:
			t.Errorf("%d has it beside its holder", i)
		default:
		}
		if err := s.Unlock(ctx, "a"); err != nil {
			t.Error(err)
		}
		seen[fmt.Sprint(<-got)] = true
	}
	if len(seen) != n {
		t.Errorf("got it: %v", seen)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if err := s.Lock(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was ended: %v", err)
	}
}
