// Command mutation breaks each promise on purpose, and wants the named test to see it.
//
//	mutation [NAME…]                  runs all mutations, or these
//	mutation --check                  only shows that each still has its place and its test, and compiles
//	mutation --changed BASE           runs those whose place or test differs from commit BASE
//	         [--random N]             and so many others
//	         [--within DURATION]      as far as they come in that time
//	mutation --shard K/N              the Kth of N parts of what would run, K from 1
//
// A mutation is a file proofs/mutations/NAME.mutation. It says where it changes the code by
// declaration and statement, not by file and line, so that it follows code that moves:
//
//	# promise: 6
//	# test: ^TestFence$
//	# a new owner has the epoch of the one before it
//	@@ writer.own
//	-	w.epoch = o.Epoch + 1
//	+	w.epoch = o.Epoch
//
// The line test has what `go test -run` gets; before it NAME=value for the environment and,
// where several packages have such a test, a part of the package's folder; after it flags
// of the test, such as more tries where chance decides. A line `# imports: errors` names
// packages that the added code needs. An import that isn't used any more is not an error.
//
// Behind @@ stands the name of a function, type, constant or variable; of a method after
// its receiver's type, which counts only as long as there is such a type with such a method.
// `@@ after NAME` adds declarations, `@@ file schema.sql` searches a file that isn't Go, by its name or its whole path.
// `in FOLDER` at the end chooses among several places.
//
// The lines are as in a unified diff. Those that stay or go must be found once in the
// declaration, whatever layout and comments it has. A line may be a part of one in the code.
//
// The exit status is 1 if a mutation survives, has no place, doesn't compile, or if its test
// fails without it; 2 for wrong usage. The tree itself is never changed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	check    bool
	changed  string
	random   int
	within   time.Duration
	part, of int
	verbose  bool
}

func main() {
	o := options{part: 1, of: 1}
	flag.BoolVar(&o.check, "check", false, "show that each mutation still has its place and its test, and compiles; run nothing")
	flag.StringVar(&o.changed, "changed", "", "run only mutations whose place or test differs from this commit")
	flag.IntVar(&o.random, "random", 0, "with --changed: run so many others too")
	flag.DurationVar(&o.within, "within", 0, "begin and end within this time; what is left out is listed (0: no bound)")
	flag.Func("shard", "run the Kth of N parts, as K/N", func(s string) (err error) {
		o.part, o.of, err = parseShard(s)
		return err
	})
	flag.BoolVar(&o.verbose, "v", os.Getenv("VERBOSE") != "", "show how the test failed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, o, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run does what the flags say, and reports whether all is well.
func run(ctx context.Context, o options, names []string) (bool, error) {
	begin := time.Now()
	root, err := os.Getwd()
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return false, fmt.Errorf("run it at the root of the module: %w", err)
	}
	list, err := readMutations(filepath.Join(root, "proofs", "mutations"), names)
	if err != nil {
		return false, err
	}
	t, err := readTree(root)
	if err != nil {
		return false, err
	}
	jobs, err := prepare(t, list)
	if err != nil {
		return false, err
	}
	if o.check {
		if err := checkTypes(t, jobs); err != nil {
			return false, err
		}
		fmt.Printf("%d mutations have their places and their tests, and compile (%.1f s)\n", len(jobs), time.Since(begin).Seconds())
		return true, nil
	}
	if o.changed != "" {
		if jobs, err = choose(t, jobs, o.changed, o.random); err != nil {
			return false, err
		}
	}
	r := runner{ctx: ctx, tree: t, verbose: o.verbose}
	if o.within > 0 {
		r.until = begin.Add(o.within)
	}
	return r.all(part(jobs, o.part, o.of))
}
