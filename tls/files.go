package tls

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"inturn/internal/atomicfile"
)

// maxFile is the largest file that is read, in bytes. A CA has about 1 KiB.
const maxFile = 64 << 10

// makePrivateFolder makes dir, and its missing parents, with mode 0700. A folder that
// exists is not changed, and is an error if other users can write to it, since they could
// put a CA of their own there.
func makePrivateFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return atomicfile.MakeFolder(dir)
	case err != nil:
		return fmt.Errorf("folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; move it away or name another", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("other users can write to the folder %s (mode %#o); chmod 700 it, or name another", dir, info.Mode().Perm())
	}
	return nil
}

// readPrivateFile reads a file. One that other users can read is an error, and its mode is
// not changed: only a person can judge whether the key in it is still a secret.
func readPrivateFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("other users can read the key %s (mode %#o); chmod 600 it if none of them did, or move it away for a new CA, whose ca.pem clients then need", name, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

// readBounded reads a file of at most maxFile bytes.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err // names the file
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d KiB", name, maxFile>>10)
	}
	return data, nil
}
