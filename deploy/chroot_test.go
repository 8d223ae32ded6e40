//go:build linux

package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"inturn/internal/program"
)

// The program runs in what the Dockerfile puts into the image, as its user and with its
// settings, takes events over TLS, and loses none of those it has answered when it is
// told to end under load. proofs/image does the same with the image itself.
func TestInAnImage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a root directory of its own needs root")
	}
	if program.Raced {
		t.Skip("a program with the race detector in it is not static")
	}
	root := t.TempDir()
	image := dockerStages(readDeployment(t).docker)[1]
	var uid, gid uint32
	if _, err := fmt.Sscanf(one(image, "USER"), "%d:%d", &uid, &gid); err != nil {
		t.Fatal(err)
	}
	for _, copied := range [][2]string{{program.Path(t), "inturn"}, {"/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"}} {
		to := filepath.Join(root, copied[1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(copied[0])
		if err != nil {
			t.Skipf("%v: the certificates that the image gets are not here", err)
		}
		if err := os.WriteFile(to, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"data": 0o755, "tmp": 0o700} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"INTURN_TOKEN=secret", "INTURN_ADMIN=127.0.0.1:0"}
	for name, value := range dockerEnv(image) {
		if name == "INTURN_LISTEN" { // the port is taken where another inturn runs
			value = strings.TrimSuffix(value, program.Port(value)) + "0"
		}
		env = append(env, name+"="+value)
	}
	cmd := exec.Command("/inturn", "serve")
	cmd.Dir, cmd.Env = "/", env
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	s := program.Launch(t, cmd)

	ca, err := os.ReadFile(filepath.Join(root, s.CA))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: program.Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
	defer cancel()
	var senders sync.WaitGroup
	var answered atomic.Int64
	for sender := range 8 {
		senders.Go(func() {
			for n := 1; ; n++ {
				body := fmt.Sprintf(`{"client_id":"c%d","message_id":"%d","payload":{"phone":"+70000000001","text":"hello"}}`, sender, n)
				req, _ := http.NewRequestWithContext(ctx, "POST", "https://localhost:"+program.Port(s.Listen)+"/v1/events", bytes.NewReader([]byte(body)))
				req.Header.Set("Authorization", "Bearer secret")
				resp, err := client.Do(req)
				if err != nil {
					return // it has ended
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusAccepted:
					answered.Add(1)
				case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
					return
				default:
					t.Errorf("answered %d %s", resp.StatusCode, text)
					return
				}
			}
		})
	}
	for answered.Load() < 100 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if status := s.Stop(t); status != 0 {
		t.Errorf("it ends with status %d:\n%s", status, s.Logged())
	}
	senders.Wait()
	file := filepath.Join(root, "data", "inturn.db")
	if info, err := os.Stat(file); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
		t.Errorf("the file is not the user's: %v, %v", info, err)
	}
	if r := program.Run(t, root, nil, "check", "--db", file); r.Status != 0 {
		t.Errorf("check: %+v", r)
	}
	stored := program.Run(t, root, nil, "query", "--db", file, "--csv", "SELECT count(*) AS n FROM outbox")
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(stored.Out, "n\n")), 10, 64)
	if err != nil || n < answered.Load() || answered.Load() < 100 {
		t.Errorf("%d events were answered, and the file has %q", answered.Load(), stored.Out)
	}
	t.Logf("%d answered, %d in the file", answered.Load(), n)
}
