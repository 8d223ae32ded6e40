package api

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofrs/flock"

	"inturn/internal/atomicfile"
)

// TokenInfo is what a token file says of a token.
type TokenInfo struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids,omitempty"` // none: all
}

// NewToken adds a token of 256 random bits to the file at path, which is made with its
// folder (mode 0700) if it isn't there, and returns it. It can't be read from the file again. No scopes are
// an error; no client_ids are all.
func NewToken(path string, info TokenInfo) (secret string, err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	secret = "inturn_" + base64.RawURLEncoding.EncodeToString(key)
	entry := tokenEntry{info.Name, HashToken(secret), info.Scopes, info.ClientIDs}
	err = editTokens(path, func(file *tokensFile) error {
		if slices.ContainsFunc(file.Tokens, func(e tokenEntry) bool { return e.Name == info.Name }) {
			return fmt.Errorf("%w: %q", ErrTokenTaken, info.Name)
		}
		file.Tokens = append(file.Tokens, entry)
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// ListTokens returns what is in the file, in its order.
func ListTokens(path string) ([]TokenInfo, error) {
	file, err := readTokenFile(path)
	if err == nil {
		err = new(tokenSet).fill(file)
	}
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	infos := make([]TokenInfo, len(file.Tokens))
	for i, e := range file.Tokens {
		infos[i] = TokenInfo{e.Name, e.Scopes, e.ClientIDs}
	}
	return infos, nil
}

// ErrNoToken says that there is no token with this name, ErrTokenTaken that there is one.
var (
	ErrNoToken    = errors.New("there is no token with this name")
	ErrTokenTaken = errors.New("there is a token with this name already")
)

// RevokeToken removes a token by its name.
func RevokeToken(path, name string) error {
	return editTokens(path, func(file *tokensFile) error {
		before := len(file.Tokens)
		file.Tokens = slices.DeleteFunc(file.Tokens, func(e tokenEntry) bool { return e.Name == name })
		if len(file.Tokens) == before {
			return ErrNoToken
		}
		return nil
	})
}

// lockTimeout bounds the wait for another edit of the same file, which takes milliseconds.
const lockTimeout = 5 * time.Second

// editTokens changes the file at path under a lock and replaces it as a whole, synced.
// A change that is refused, or whose result would not be read again, leaves no trace.
// A file behind a symbolic link is replaced where it is.
func editTokens(path string, change func(*tokensFile) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("token file %s: %w", path, err)
		}
	}()
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if _, err := changedTokens(path, change); err != nil {
		return err
	}
	if err := atomicfile.MakeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	// A file beside it, because the file itself is replaced. The link of another user
	// in the same folder is not followed.
	lock := flock.New(path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeoutCause(context.Background(), lockTimeout, fmt.Errorf("another process has held %s.lock for %v", path, lockTimeout))
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("lock: %w", err)
	}
	defer lock.Close()
	text, err := changedTokens(path, change)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, text, 0o600)
}

// changedTokens returns the text of the file at path after change.
func changedTokens(path string, change func(*tokensFile) error) ([]byte, error) {
	file, err := readTokenFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := change(&file); err != nil {
		return nil, err
	}
	if err := new(tokenSet).fill(file); err != nil {
		return nil, err
	}
	text, err := jsonv2.Marshal(file, jsontext.WithIndent("  "), jsonv2.Deterministic(true))
	return append(text, '\n'), err
}

// inode tells one file from another at the same path.
func inode(info os.FileInfo) any {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return nil
}
