package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// programs are the paths of the programs that are measured. They are built from source at
// the start of a run.
type programs struct {
	inturn string
	peers  string // "" without the peers' source
}

func (b *bench) build() (*programs, error) {
	p := &programs{inturn: filepath.Join(b.dir, "inturn")}
	if err := b.goBuild(b.o.tree, p.inturn, "build", "."); err != nil {
		return nil, err
	}
	b.version("inturn", p.inturn, "version")
	b.version("commit", "git", "-C", b.o.tree, "describe", "--always", "--dirty")
	b.version("wrk", "wrk", "-v")
	switch info, err := os.Stat(b.o.peers); {
	case b.o.peers == "":
		b.leaveOut("peers", "their source is not named (--peers)")
	case err != nil || !info.IsDir():
		b.leaveOut("peers", "there is no folder "+b.o.peers)
	default:
		p.peers = filepath.Join(b.dir, "peers")
		if err := b.goBuild(b.o.peers, p.peers, "build", "."); err != nil {
			b.leaveOut("peers", err.Error())
			p.peers = ""
		}
	}
	return p, nil
}

func (b *bench) goBuild(dir, out string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, "go", append(args[:1:1], append([]string{"-o", out}, args[1:]...)...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, bytes.TrimSpace(text))
	}
	return nil
}

// missing returns the first of the programs that isn't installed, "" for none.
func (b *bench) missing(programs []string) string {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}

// version returns the first line of a program's output, "" if the program is missing.
func (b *bench) version(name string, command ...string) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, _ := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput() // wrk -v ends with 1
	if line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n"); line != "" {
		b.Versions[name] = line
	}
}

// output runs a program to its end and returns its standard output. An error has its
// standard error.
func (b *bench) output(limit time.Duration, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(environment(), "TMPDIR="+b.dir)
	cmd.WaitDelay = 10 * time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%v)", ctx.Err(), limit)
		}
		tail := errOut.Bytes()
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(command[0]), err, bytes.TrimSpace(tail[max(0, len(tail)-500):]))
	}
	return out.String(), nil
}

// environment returns the environment of this process without inturn's settings, so that
// its defaults are measured.
func environment() (env []string) {
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "INTURN_") {
			env = append(env, setting)
		}
	}
	return env
}

// goBenchmark runs one Go benchmark of a package, n iterations of it, in a process of
// its own and returns the metric that it reports in unit.
func (b *bench) goBenchmark(pkg, name string, n int, unit string) (float64, error) {
	binary := filepath.Join(b.dir, filepath.Base(pkg)+".test")
	if _, err := os.Stat(binary); err != nil {
		if err := b.goBuild(filepath.Join(b.o.tree, pkg), binary, "test", "-c", "."); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	pattern := "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+pattern, fmt.Sprintf("-test.benchtime=%dx", n))
	cmd.Dir = filepath.Join(b.o.tree, pkg)
	cmd.Env = append(environment(), "TMPDIR="+b.dir)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(text))
	}
	return metric(string(text), n, unit)
}

// metric reads the value in unit of the benchmark line with n iterations.
func metric(text string, n int, unit string) (float64, error) {
	line := regexp.MustCompile(`(?m)^Benchmark\S+\s+` + strconv.Itoa(n) + `\s.*?([0-9.e+]+) ` + regexp.QuoteMeta(unit) + `(\s|$)`)
	m := line.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no line of a benchmark with %d iterations and %s in: %s", n, unit, text)
	}
	return strconv.ParseFloat(m[1], 64)
}
