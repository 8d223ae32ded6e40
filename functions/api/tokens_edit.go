package api

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TokenInfo is what a token file says of a token.
type TokenInfo struct {
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids,omitempty"` // none: all
}

// NewToken adds a token of 256 random bits to the file at path, which is made if it
// isn't there, and returns it. It can't be read from the file again. No scopes are
// an error; no client_ids are all.
func NewToken(path string, info TokenInfo) (secret string, err error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: it ends the process instead
	secret = "inturn_" + base64.RawURLEncoding.EncodeToString(key)
	entry := tokenEntry{info.Name, HashToken(secret), info.Scopes, info.ClientIDs}
	err = editTokens(path, func(file *tokensFile) error {
		if slices.ContainsFunc(file.Tokens, func(e tokenEntry) bool { return e.Name == info.Name }) {
			return fmt.Errorf("there is a token with the name %q already", info.Name)
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

// ErrNoToken says that there is no token with this name.
var ErrNoToken = errors.New("there is no token with this name")

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

// editTokens changes the file under a lock and puts the new one in its place at
// once, synced. What would not be read again is not written.
func editTokens(path string, change func(*tokensFile) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("token file %s: %w", path, err)
		}
	}()
	lock, err := lockTokens(path)
	if err != nil {
		return err
	}
	defer lock.Close()
	file, err := readTokenFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := change(&file); err != nil {
		return err
	}
	if err := new(tokenSet).fill(file); err != nil {
		return err
	}
	text, err := jsonv2.Marshal(file, jsontext.WithIndent("  "), jsonv2.Deterministic(true))
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

// lockTokens waits for the lock of a token file: a file beside it, because the file
// itself is replaced. The system frees it when the process ends.
func lockTokens(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

// replaceFile writes a file that only its owner can read.
func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// inode tells one file from another at the same path.
func inode(info os.FileInfo) any {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return nil
}
