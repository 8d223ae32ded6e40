package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What comes of a mutation.
const (
	caught     = "caught"
	survived   = "SURVIVED"
	noCompile  = "DOES NOT COMPILE"
	testFails  = "TEST FAILS WITHOUT IT"
	outOfTime  = "no time"
	testAtMost = 10 * time.Minute
)

// runner runs jobs one after the other in a copy of the tree.
type runner struct {
	ctx     context.Context // ends when the run is to end
	tree    *tree
	copy    *copied
	until   time.Time // zero: no bound
	verbose bool
	passes  map[string]string // by test: what came of it without a mutation, caught if it passes
}

// all runs the jobs, prints what comes of each, and reports whether all were caught. What
// there was no time for is listed, and is no failure.
func (r *runner) all(jobs []job) (bool, error) {
	var err error
	if r.copy, err = copyTree(r.tree.root); err != nil {
		return false, err
	}
	defer r.copy.close()
	r.passes = map[string]string{}
	var bad, left []string
	for i, j := range jobs {
		if r.over() {
			for _, j := range jobs[i:] {
				left = append(left, j.name)
			}
			break
		}
		begin := time.Now()
		verdict, err := r.one(j)
		if err = errors.Join(err, r.ctx.Err()); err != nil {
			return false, fmt.Errorf("%s: %w", j.name, err)
		}
		if verdict == outOfTime {
			left = append(left, j.name)
			continue
		}
		if verdict != caught {
			bad = append(bad, j.name+": "+verdict)
		}
		fmt.Printf("%-44s %-3s %-22s %4.0f s  %s\n", j.name, j.promise, verdict, time.Since(begin).Seconds(), j.test)
	}
	fmt.Printf("%d of %d mutations ran, %d caught\n", len(jobs)-len(left), len(jobs), len(jobs)-len(left)-len(bad))
	if len(left) > 0 {
		fmt.Printf("left out for time, %d: %s\n", len(left), strings.Join(left, " "))
	}
	for _, s := range bad {
		fmt.Println(s)
	}
	return len(bad) == 0, nil
}

// over reports whether the time is up.
func (r *runner) over() bool { return !r.until.IsZero() && !time.Now().Before(r.until) }

// one runs the test of a job without the mutation, unless that was done for another, and
// with it. A test that fails without it, is skipped, or isn't there, shows nothing.
func (r *runner) one(j job) (string, error) {
	key := j.dir + " " + j.test.String()
	if _, ok := r.passes[key]; !ok {
		out, err := r.test(j)
		switch {
		case r.over():
			return outOfTime, nil
		case err != nil, !strings.Contains(out, "\n--- PASS"), strings.Contains(out, "\n--- SKIP"):
			fmt.Fprintf(os.Stderr, "without a mutation: %s\n%s", key, tail(out, 20))
			r.passes[key] = testFails
		default:
			r.passes[key] = caught
		}
	}
	if r.passes[key] != caught {
		return r.passes[key], nil
	}
	if err := r.copy.write(j.files); err != nil {
		return "", err
	}
	verdict := r.mutated(j)
	return verdict, r.copy.write(r.tree.own(j.files))
}

// mutated builds and tests what the copy has now.
func (r *runner) mutated(j job) string {
	out, err := r.build(j)
	if err == nil {
		out, err = r.test(j)
		switch {
		case r.over():
			return outOfTime
		case err == nil:
			return survived
		case !strings.Contains(out, "[build failed]") && !strings.Contains(out, "[setup failed]"):
			if r.verbose {
				fmt.Print(tail(out, 12))
			}
			return caught
		}
	}
	if r.over() {
		return outOfTime
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", j.name, tail(out, 20))
	return noCompile
}

// build compiles the packages that a job changes. A test may build the program by itself,
// and would fail if that failed.
func (r *runner) build(j job) (string, error) {
	args := []string{"build", "-o", os.DevNull}
	for file := range j.files {
		if dir := "./" + path.Dir(file); path.Ext(file) == ".go" && !slices.Contains(args, dir) {
			args = append(args, dir)
		}
	}
	if len(args) == 3 {
		return "", nil
	}
	return r.goTool(nil, args...)
}

func (r *runner) test(j job) (string, error) {
	args := []string{"test", "-v", "-count=1", "-vet=off", "-timeout=" + testAtMost.String(), "./" + j.dir, "-run", j.test.pattern}
	return r.goTool(j.test.env, append(args, j.test.flags...)...)
}

// goTool runs go in the copy, until there is no time left.
func (r *runner) goTool(env []string, args ...string) (string, error) {
	ctx := r.ctx
	if !r.until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.until)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.copy.dir
	cmd.Env = slices.Concat(os.Environ(), []string{"CGO_ENABLED=0"}, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the test and its servers too
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return "\n" + string(out), err
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	all := strings.SplitAfter(s, "\n")
	return strings.Join(all[max(0, len(all)-n):], "")
}
