package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// Bounds of a token file. Every token is compared with on each request.
const (
	maxTokens    = 1000
	maxTokenFile = 1 << 20
)

type scope uint8

const (
	scopeIngest scope = 1 << iota
	scopeRead
	scopeOperate
)

var scopeNames = map[string]scope{"ingest": scopeIngest, "read": scopeRead, "operate": scopeOperate}

func (s scope) String() string {
	for name, v := range scopeNames {
		if v == s {
			return name
		}
	}
	return "?"
}

// Tokens are those that are taken. They don't change.
type Tokens struct{ list []token }

type token struct {
	name      string
	hash      [sha256.Size]byte
	scopes    scope
	clientIDs map[string]struct{} // nil: all
}

// HashToken returns a token's hash as it stands in a token file: SHA-256 in
// lower-case hex. A token must be random (128 bits or more): nothing slows down
// guessing a weak one from its hash.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// LoadTokens reads the token file at path and adds env, one token with every
// scope. Either may be ""; if both are, it returns nil: no tokens are asked for. A
// file without tokens lets nobody in. The file is strict JSON,
//
//	{"tokens": [
//	  {"name": "shop", "hash": "…", "scopes": ["ingest", "read", "operate"], "client_ids": ["a"]}
//	]}
//
// with HashToken's hash. client_ids is optional; with it the token is good for
// these alone, for writing and reading.
func LoadTokens(path, env string) (*Tokens, error) {
	env = strings.TrimSpace(env)
	if path == "" && env == "" {
		return nil, nil
	}
	t := &Tokens{}
	if path != "" {
		if err := t.load(path); err != nil {
			return nil, fmt.Errorf("token file %s: %w", path, err)
		}
	}
	if env != "" {
		if strings.Trim(env, visible) != "" {
			return nil, errors.New("INTURN_TOKEN: must be visible ASCII characters, because it is sent in a header")
		}
		err := t.add(token{name: "INTURN_TOKEN", hash: sha256.Sum256([]byte(env)), scopes: anyone.scopes})
		if err != nil {
			return nil, fmt.Errorf("INTURN_TOKEN: %w", err)
		}
	}
	return t, nil
}

// tokenEntry is one entry of the file.
type tokenEntry struct {
	Name      string   `json:"name"`
	Hash      string   `json:"hash"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids"`
}

func (t *Tokens) load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err) // the path is named by the caller
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxTokenFile {
		return fmt.Errorf("is larger than %d bytes", maxTokenFile)
	}
	var file struct {
		Tokens []tokenEntry `json:"tokens"`
	}
	if err := jsonv2.Unmarshal(bytes.TrimSpace(text), &file, jsonv2.RejectUnknownMembers(true)); err != nil {
		return err
	}
	for i, entry := range file.Tokens {
		tok, err := entry.token()
		if err == nil {
			err = t.add(tok)
		}
		if err != nil {
			return fmt.Errorf("token %d (%.64q): %w", i+1, entry.Name, err)
		}
	}
	return nil
}

func (e tokenEntry) token() (token, error) {
	tok := token{name: e.Name}
	if e.Name == "" || len(e.Name) > 64 {
		return tok, errors.New("name: must have 1 to 64 bytes")
	}
	hash, err := hex.DecodeString(e.Hash)
	if err != nil || len(hash) != len(tok.hash) || strings.ToLower(e.Hash) != e.Hash {
		return tok, errors.New("hash: must be a SHA-256 in lower-case hex, 64 digits")
	}
	copy(tok.hash[:], hash)
	for _, name := range e.Scopes {
		s, ok := scopeNames[name]
		if !ok {
			return tok, fmt.Errorf("scopes: %.32q is none of ingest, read, operate", name)
		}
		tok.scopes |= s
	}
	if tok.scopes == 0 {
		return tok, errors.New("scopes: must name one or more of ingest, read, operate")
	}
	if e.ClientIDs != nil {
		tok.clientIDs = make(map[string]struct{}, len(e.ClientIDs))
		for _, id := range e.ClientIDs {
			tok.clientIDs[id] = struct{}{}
		}
		if _, ok := tok.clientIDs[""]; ok || len(tok.clientIDs) == 0 {
			return tok, errors.New("client_ids: must name one or more, none empty; leave it out for all")
		}
	}
	return tok, nil
}

// visible is the characters of a token.
const visible = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

func (t *Tokens) add(tok token) error {
	if len(t.list) == maxTokens {
		return fmt.Errorf("there are more than %d tokens", maxTokens)
	}
	for _, other := range t.list {
		switch {
		case other.name == tok.name:
			return errors.New("another token has this name")
		case other.hash == tok.hash:
			return fmt.Errorf("this is the same token as %.64q", other.name)
		}
	}
	t.list = append(t.list, tok)
	return nil
}

// find returns the token with this secret, or nil. It compares hashes, all of
// them, each in constant time: how long it takes tells nothing about any.
func (t *Tokens) find(secret string) *token {
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i := range t.list {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], t.list[i].hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &t.list[found]
}
