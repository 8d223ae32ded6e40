package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	jsonv2 "github.com/go-json-experiment/json"
)

// Bounds of a token file. Every token is compared with on each request.
const (
	maxTokens    = 1000
	maxSecrets   = 10 // of one client_id
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

// Tokens are the tokens that are accepted, and the secrets of senders that sign. Reload
// and Watch exchange all at once.
type Tokens struct {
	path, env string
	set       atomic.Pointer[tokenSet]
}

// tokenSet is what was read at one time. It doesn't change.
type tokenSet struct {
	list    []token
	secrets map[string][]string // by client_id
}

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
//	{
//	  "tokens": [
//	    {"name": "shop", "hash": "…", "scopes": ["ingest", "read", "operate"], "client_ids": ["a"]}
//	  ],
//	  "secrets": {"a": ["whsec_…"]}
//	}
//
// with HashToken's hash. client_ids is optional; with it the token is good for
// these alone, for writing and reading. secrets is optional: by client_id, the keys
// of senders that sign as Standard Webhooks says; where two are listed both are good, so
// that one can follow the other without a gap.
func LoadTokens(path, env string) (*Tokens, error) {
	env = strings.TrimSpace(env)
	if path == "" && env == "" {
		return nil, nil
	}
	t := &Tokens{path: path, env: env}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file again. After an error the tokens are as they were before.
func (t *Tokens) Reload() error {
	s := &tokenSet{}
	if t.path != "" {
		file, err := readTokenFile(t.path)
		if err == nil {
			err = s.fill(file)
		}
		if err != nil {
			return fmt.Errorf("token file %s: %w", t.path, err)
		}
	}
	if t.env != "" {
		if strings.Trim(t.env, visible) != "" {
			return errors.New("INTURN_TOKEN: must be visible ASCII characters, because it is sent in a header")
		}
		err := s.add(token{name: "INTURN_TOKEN", hash: sha256.Sum256([]byte(t.env)), scopes: anyone.scopes})
		if err != nil {
			return fmt.Errorf("INTURN_TOKEN: %w", err)
		}
	}
	t.set.Store(s)
	return nil
}

// Secrets returns the signing secrets of a client_id that are good now.
func (t *Tokens) Secrets(clientID string) []string {
	if t == nil {
		return nil
	}
	return t.set.Load().secrets[clientID]
}

// tokensFile is the file.
type tokensFile struct {
	Tokens  []tokenEntry        `json:"tokens"`
	Secrets map[string][]string `json:"secrets,omitempty"`
}

// tokenEntry is one entry of the file.
type tokenEntry struct {
	Name      string   `json:"name"`
	Hash      string   `json:"hash"`
	Scopes    []string `json:"scopes"`
	ClientIDs []string `json:"client_ids,omitempty"`
}

func readTokenFile(path string) (file tokensFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return file, errors.Unwrap(err) // the path is named by the caller
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return file, err
	}
	if len(text) > maxTokenFile {
		return file, fmt.Errorf("is larger than %d bytes", maxTokenFile)
	}
	if err := jsonv2.Unmarshal(bytes.TrimSpace(text), &file, jsonv2.RejectUnknownMembers(true)); err != nil {
		return file, fmt.Errorf("it is no token file: %w", err)
	}
	return file, nil
}

func (s *tokenSet) fill(file tokensFile) error {
	for i, entry := range file.Tokens {
		tok, err := entry.token()
		if err == nil {
			err = s.add(tok)
		}
		if err != nil {
			return fmt.Errorf("token %d (%.64q): %w", i+1, entry.Name, err)
		}
	}
	s.secrets = file.Secrets
	for id, secrets := range file.Secrets {
		if id == "" || len(secrets) == 0 || len(secrets) > maxSecrets {
			return fmt.Errorf("secrets of %.64q: must be 1 to %d, of a client_id", id, maxSecrets)
		}
		for i, secret := range secrets {
			if !validSecret(secret) { // it must not be shown
				return fmt.Errorf("secret %d of %.64q: must be whsec_ and 24 to 64 random bytes in base64", i+1, id)
			}
		}
	}
	return nil
}

// validSecret follows Standard Webhooks, "Signature scheme".
func validSecret(secret string) bool {
	text, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	return ok && err == nil && len(key) >= 24 && len(key) <= 64
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

func (s *tokenSet) add(tok token) error {
	if len(s.list) == maxTokens {
		return fmt.Errorf("there are more than %d tokens", maxTokens)
	}
	for _, other := range s.list {
		switch {
		case other.name == tok.name:
			return errors.New("another token has this name")
		case other.hash == tok.hash:
			return fmt.Errorf("this is the same token as %.64q", other.name)
		}
	}
	s.list = append(s.list, tok)
	return nil
}

// find returns the token with this secret, or nil. It compares all hashes, each in
// constant time, so that its duration reveals nothing about a token.
func (t *Tokens) find(secret string) *token {
	sum := sha256.Sum256([]byte(secret))
	list := t.set.Load().list
	found := -1
	for i := range list {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], list[i].hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &list[found]
}
