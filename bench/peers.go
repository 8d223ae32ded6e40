package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// peer is a store that inturn is compared with, and the servers that it needs.
type peer struct {
	store string
	needs []string
}

// peers are the stores in the order of the table. Ratios are against json, the ceiling.
var peers = []peer{
	{"null", nil}, {"json", nil}, {"sqlite-naive", nil}, {"redis", []string{"redis"}}, {"postgres", []string{"postgres"}},
	{"nats", []string{"nats"}}, {"rabbit", []string{"rabbit"}}, {"system-b", []string{"redis", "postgres"}},
}

// backends are the running servers of peers.
type backends struct {
	b    *bench
	dsn  string
	up   map[string]*process
	down map[string]string // why one isn't there
}

func (b *bench) newBackends() *backends {
	return &backends{b: b, up: map[string]*process{}, down: map[string]string{}}
}

// startPeer starts a peer, and the servers it needs that don't run yet. If it can't, it
// returns the reason.
func (k *backends) startPeer(p peer) (proc *process, addr, reason string, err error) {
	b := k.b
	if b.peers == "" {
		return nil, "", "the peers are left out", nil
	}
	for _, need := range p.needs {
		if reason := k.need(need); reason != "" {
			return nil, "", reason, nil
		}
	}
	if addr, err = freeAddr(); err != nil {
		return nil, "", "", err
	}
	naive := filepath.Join(b.dir, "naive.db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(naive + suffix)
	}
	proc, err = b.start("peer-"+p.store, nil, nil, b.peers, "-store", p.store, "-addr", addr, "-dsn", k.dsn, "-path", naive)
	if err != nil {
		return nil, "", "", err
	}
	if err := proc.ready(b.ctx, listening(addr)); err != nil {
		return nil, "", err.Error(), proc.stop()
	}
	return proc, addr, "", nil
}

// need starts a server once. If it can't, it returns the reason. All servers but PostgreSQL
// have fixed ports, where the peers look for a server.
func (k *backends) need(name string) (reason string) {
	if k.up[name] != nil {
		return ""
	}
	if reason, known := k.down[name]; known {
		return reason
	}
	start := map[string]func() (*process, string, error){
		"redis": k.redis, "postgres": k.postgres, "nats": k.nats, "rabbit": k.rabbit,
	}[name]
	p, addr, err := start()
	if err == nil && p != nil {
		up := listening(addr)
		if name == "postgres" { // it listens before it answers
			up = p.says("ready to accept connections")
		}
		if err = p.ready(k.b.ctx, up); err != nil {
			err = errors.Join(err, p.stop())
		}
	}
	if err != nil {
		k.down[name] = err.Error()
		return err.Error()
	}
	if p == nil { // one that was there
		p = &process{name: name, over: true}
	}
	k.up[name] = p
	return ""
}

func (k *backends) stop() (err error) {
	for _, p := range k.up {
		err = errors.Join(err, p.stop())
	}
	return err
}

// fixed returns the command of a server whose port is fixed.
func fixed(addr string, names ...string) (string, error) {
	if listening(addr)() {
		return "", fmt.Errorf("something else listens on %s", addr)
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", names[0])
}

func (k *backends) redis() (*process, string, error) {
	const addr = "127.0.0.1:6379"
	program, err := fixed(addr, "redis-server")
	if err != nil {
		return nil, "", err
	}
	k.b.version("redis", program, "--version")
	dir, err := os.MkdirTemp(k.b.dir, "redis-")
	if err != nil {
		return nil, "", err
	}
	p, err := k.b.start("redis", nil, nil, program, "--bind", "127.0.0.1", "--port", "6379", "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no")
	return p, addr, err
}

func (k *backends) nats() (*process, string, error) {
	const addr = "127.0.0.1:4222"
	program, err := fixed(addr, "nats-server")
	if err != nil {
		return nil, "", err
	}
	k.b.version("nats", program, "--version")
	dir, err := os.MkdirTemp(k.b.dir, "nats-")
	if err != nil {
		return nil, "", err
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: \"always\" }\n", addr, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err := k.b.start("nats", nil, nil, program, "-c", config)
	return p, addr, err
}

// rabbit returns the address of RabbitMQ if it runs already. How it is started depends on how it was
// installed.
func (k *backends) rabbit() (*process, string, error) {
	const addr = "127.0.0.1:5672"
	if !listening(addr)() {
		return nil, "", fmt.Errorf("nothing listens on %s: start rabbitmq-server, with rabbitmq_consistent_hash_exchange enabled", addr)
	}
	k.b.version("rabbitmq", "rabbitmqctl", "version")
	return nil, addr, nil
}

// postgres makes a new cluster. PostgreSQL refuses to run as root, and runs as the user
// postgres then.
func (k *backends) postgres() (*process, string, error) {
	b := k.b
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, "", err
	}
	server, err := postgresProgram("postgres")
	if err != nil {
		return nil, "", err
	}
	b.version("postgres", server, "--version")
	dir, err := os.MkdirTemp(b.dir, "postgres-")
	if err != nil {
		return nil, "", err
	}
	var credential *syscall.Credential
	if os.Geteuid() == 0 {
		if credential, err = asUser("postgres"); err != nil {
			return nil, "", err
		}
		err = errors.Join(os.Chown(dir, int(credential.Uid), int(credential.Gid)), os.Chmod(b.dir, 0o711))
		if err != nil {
			return nil, "", err
		}
	}
	made, err := b.start("initdb", credential, []string{"LC_ALL=C"}, initdb, "-D", filepath.Join(dir, "data"), "-A", "trust", "-U", "postgres")
	if err != nil {
		return nil, "", err
	}
	made.over = true
	if err := <-made.ended; err != nil {
		text, _ := os.ReadFile(made.log)
		return nil, "", fmt.Errorf("initdb: %w: %s", err, text[max(0, len(text)-500):])
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	port := addr[len("127.0.0.1:"):]
	k.dsn = "postgres://postgres@" + addr + "/postgres?sslmode=disable"
	p, err := b.start("postgres", credential, []string{"LC_ALL=C"}, server, "-D", filepath.Join(dir, "data"), "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
	return p, addr, err
}

func postgresProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(paths) > 0 {
		return paths[len(paths)-1], nil
	}
	return "", fmt.Errorf("%s is not installed", name)
}

func asUser(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}
