package tls

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "tls")
	open(t, dir, newClock())
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, "ca.pem": 0o644, "ca-key.pem": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%q has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

// TestRefusedFiles: each is refused with the file and a way out in the message,
// and nothing is changed.
func TestRefusedFiles(t *testing.T) {
	key := func(dir string) string { return filepath.Join(dir, "ca-key.pem") }
	write := func(t *testing.T, file, data string) {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chmod := func(t *testing.T, file string, mode fs.FileMode) {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, dir string)
		want []string
	}{
		{"key open to all", func(t *testing.T, dir string) { chmod(t, key(dir), 0o644) }, []string{"ca-key.pem", "0644", "chmod 600"}},
		{"key open to the group", func(t *testing.T, dir string) { chmod(t, key(dir), 0o640) }, []string{"ca-key.pem", "0640", "chmod 600"}},
		{"folder open to writers", func(t *testing.T, dir string) { chmod(t, dir, 0o777) }, []string{"tls", "0777", "chmod 700"}},
		{"empty", func(t *testing.T, dir string) { write(t, key(dir), "") }, []string{"ca-key.pem is damaged", "no ECDSA private key", "restore it, or move it away"}},
		{"not PEM", func(t *testing.T, dir string) { write(t, key(dir), "\x00\x01garbage") }, []string{"ca-key.pem is damaged", "move it away"}},
		{"cut", func(t *testing.T, dir string) { s := read(t, key(dir)); write(t, key(dir), s[:len(s)/2]) }, []string{"ca-key.pem is damaged", "no certificate", "move it away"}},
		{"another CA's certificate", func(t *testing.T, dir string) {
			other := t.TempDir()
			open(t, other, newClock())
			mine, _, _ := strings.Cut(read(t, key(dir)), "-----BEGIN CERTIFICATE")
			write(t, key(dir), mine+read(t, filepath.Join(other, "ca.pem")))
		}, []string{"ca-key.pem is damaged", "not of this key", "move it away"}},
		{"a folder", func(t *testing.T, dir string) {
			if err := os.Remove(key(dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(key(dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"ca-key.pem", "is a directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			open(t, dir, newClock())
			tt.do(t, dir)
			published := read(t, filepath.Join(dir, "ca.pem"))
			_, err := SelfSigned(dir, nil, time.Now, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatal("not refused")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if read(t, filepath.Join(dir, "ca.pem")) != published {
				t.Error("ca.pem was changed")
			}
		})
	}
}

// ca.pem is a copy: whatever happened to it, it is made again.
func TestCopyIsRestored(t *testing.T) {
	dir := t.TempDir()
	file := open(t, dir, newClock()).CAFile()
	want := readCert(t, file)
	for name, damage := range map[string]func() error{
		"gone": func() error { return os.Remove(file) },
		"cut":  func() error { return os.Truncate(file, 100) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		open(t, dir, newClock())
		if !readCert(t, file).Equal(want) {
			t.Errorf("%s: another certificate", name)
		}
	}
}

// TestEveryDamage flips each bit and cuts at each byte: the CA is then refused or
// the same, never another one.
func TestEveryDamage(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, newClock())
	data, err := os.ReadFile(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseAuthority(data)
	if err != nil {
		t.Fatal(err)
	}
	check := func(damaged []byte, what string, at int) {
		got, err := parseAuthority(damaged)
		if err == nil && !(got.cert.Equal(want.cert) && got.key.Equal(want.key)) {
			t.Errorf("%s at byte %d: another CA", what, at)
		}
	}
	for i := range data {
		check(data[:i], "cut", i)
		for bit := range 8 {
			data[i] ^= 1 << bit
			check(data, "flip", i)
			data[i] ^= 1 << bit
		}
	}
}
