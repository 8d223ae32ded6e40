package proofs

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"inturn/db/sqlite/file"
	"inturn/internal/faultvfs"
)

// The tests here see what a whole process does, its own system calls as well as
// SQLite's: strace tells, and the same Disk is fed with it.

// system is one system call that ended.
type system struct {
	name string
	args string // as strace prints them, strings and file names in hex
	ret  string // from the equals sign
}

func (s system) failed() bool { return strings.HasPrefix(s.ret, "-1 ") }

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (.*)$`)
	begunLine   = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)$`)
	fdPath      = regexp.MustCompile(`^\d+<([^>]*)>`)
	quoted      = regexp.MustCompile(`"([^"]*)"`)
)

// tracedCalls are those that change a file or a folder, or make it safe.
const tracedCalls = "open,openat,creat,mkdir,mkdirat,write,writev,pwrite64,pwritev,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range," +
	"unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat"

// traced runs this test binary's TestPowerChild and returns what it did, in order.
func traced(t testing.TB, job, file string, settings ...string) []system {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace.log")
	args := []string{"-f", "-y", "-xx", "-s", "1048576", "-o", log, "-e", "trace=" + tracedCalls}
	cmd := exec.Command(needTool(t, "strace"), append(args, os.Args[0], "-test.run=^TestPowerChild$")...)
	cmd.Env = slices.Concat(os.Environ(), []string{childJob + "=" + job, childFile + "=" + file}, settings)
	cmd.SysProcAttr = endsWithParent()
	if out, err := cmd.CombinedOutput(); err != nil && (len(settings) == 0 || job != "script") {
		t.Fatalf("the traced process: %v\n%s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var calls []system
	begun := map[string]string{}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		line := in.Text()
		if m := begunLine.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[3]
		} else if m := resumedLine.FindStringSubmatch(line); m != nil {
			calls = append(calls, system{m[2], begun[m[1]] + m[3], m[4]})
		} else if m := callLine.FindStringSubmatch(line); m != nil {
			calls = append(calls, system{m[2], m[3], m[4]})
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	if len(calls) == 0 {
		t.Fatal("strace saw nothing")
	}
	return calls
}

// Settings of the child process.
const (
	childJob  = "INTURN_POWER_CHILD"
	childFile = "INTURN_POWER_FILE"
	childFail = "INTURN_POWER_FAIL" // the number of the sync that fails
	childFrom = "INTURN_POWER_FROM" // what is copied
	childKill = "INTURN_POWER_KILL" // the sync that fails is the last thing that happens
)

// TestPowerChild is not a test but the traced process; it says each answer on its
// standard output, as a server does on a socket.
func TestPowerChild(t *testing.T) {
	path := os.Getenv(childFile)
	b := newBook()
	say := func() {
		for id, seq := range b.seqs {
			fmt.Printf("answered %s %d\n", id, seq)
		}
		for id := range b.settled {
			fmt.Printf("settled %s\n", id)
		}
		clear(b.seqs)
		clear(b.settled)
	}
	switch os.Getenv(childJob) {
	case "":
		t.Skip("part of the tests that trace it")
	case "script":
		if n, err := strconv.Atoi(os.Getenv(childFail)); err == nil {
			failSync(t, strings.TrimSuffix(path, deepFile), n)
		}
		if err := powerScript(t.Context(), path, b, say); err != nil {
			t.Fatal(err)
		}
	case "backup":
		if err := file.Backup(t.Context(), os.Getenv(childFrom), path, file.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("answered copy/0 0")
	case "restore":
		if _, err := file.Restore(t.Context(), os.Getenv(childFrom), path, file.CopyOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("answered copy/0 0")
	case "compact":
		if _, _, err := file.Compact(t.Context(), path, file.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("answered copy/0 0")
	case "resend":
		d, err := openStore(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range scriptIDs() {
			r, err := d.Append(t.Context(), ev.Event)
			if err != nil {
				t.Fatal(err)
			}
			b.answered(ev.id, r.Seq)
			say()
		}
		os.Exit(0) // ends without Close: what it would write is not what is asked about
	}
}

// failSync makes SQLite's nth sync fail, and says so when it happens.
func failSync(t testing.TB, root string, n int) {
	w, stop, err := faultvfs.Watch(filepath.Clean(root))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w.Inject(faultvfs.Fault{Op: faultvfs.Sync, Errno: syscall.EIO, After: n - 1, Times: 1})
	w.OnFail(func(e faultvfs.Event) {
		fmt.Printf("unsynced %s\n", e.Name)
		if os.Getenv(childKill) != "" {
			os.Exit(1)
		}
	})
}

// recorder feeds a Disk with system calls.
type recorder struct {
	t     testing.TB
	root  string
	disk  *faultvfs.Disk
	known *book
	// then is called after each step; answer says that it was one.
	then func(at string, answer bool)
	// deaf makes it not hear of folders' syncs, as if there were none.
	deaf  bool
	steps int
	fails string // the file whose sync failed
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{t: t, root: root, disk: faultvfs.NewDisk(), known: newBook(), then: func(string, bool) {}}
}

func (r *recorder) feed(calls []system) {
	for _, c := range calls {
		if c.name == "write" && strings.HasPrefix(c.args, "1<") {
			for line := range strings.SplitSeq(text(r.t, quoted.FindStringSubmatch(c.args)[1]), "\n") {
				if r.hear(line) {
					r.then("after "+line, true)
				}
			}
			continue
		}
		if at := r.call(c); at != "" {
			r.steps++
			r.then(fmt.Sprintf("step %d, after %s", r.steps, at), false)
		}
	}
}

// hear takes down an answer.
func (r *recorder) hear(line string) bool {
	var id string
	var seq int64
	if n, _ := fmt.Sscanf(line, "answered %s %d", &id, &seq); n == 2 {
		r.known = r.known.copy()
		r.known.answered(id, seq)
		return true
	}
	if n, _ := fmt.Sscanf(line, "settled %s", &id); n == 1 {
		r.known = r.known.copy()
		r.known.settle(id)
		return true
	}
	if name, ok := strings.CutPrefix(line, "unsynced "); ok {
		r.fails = name
		r.disk.FailSync(name)
	}
	return false
}

// call feeds one call and returns its name for people, "" if it is none of ours.
func (r *recorder) call(c system) string {
	name, ours := r.subject(c)
	if !ours || c.failed() {
		return ""
	}
	d := r.disk
	switch c.name {
	case "open", "openat", "creat":
		if strings.Contains(c.args, "O_TRUNC") && d.Has(name) {
			d.Truncate(name, 0)
		}
		if !strings.Contains(c.args, "O_CREAT") && c.name != "creat" || d.Has(name) {
			return ""
		}
		d.Create(name)
	case "mkdir", "mkdirat":
		d.Mkdir(name)
	case "unlink", "unlinkat", "rmdir":
		d.Delete(name)
	case "rename", "renameat", "renameat2":
		names := quoted.FindAllStringSubmatch(c.args, 2)
		to, _ := r.rel(text(r.t, names[1][1]))
		d.Rename(name, to)
	case "link", "linkat":
		names := quoted.FindAllStringSubmatch(c.args, 2)
		to, _ := r.rel(text(r.t, names[1][1]))
		d.Link(name, to)
	case "pwrite64":
		data := quoted.FindStringSubmatch(c.args)
		n, err := strconv.Atoi(c.ret)
		at, err2 := strconv.ParseInt(c.args[strings.LastIndex(c.args, ", ")+2:], 10, 64)
		if data == nil || err != nil || err2 != nil {
			r.t.Fatalf("a write that can't be read: %.200s = %s", c.args, c.ret)
		}
		d.Write(name, at, []byte(text(r.t, data[1]))[:n])
	case "ftruncate":
		size, err := strconv.ParseInt(c.args[strings.LastIndex(c.args, ", ")+2:], 10, 64)
		if err != nil {
			r.t.Fatal(err)
		}
		d.Truncate(name, size)
	case "fallocate":
		args := strings.Split(c.args, ", ") // descriptor, mode, offset, length
		offset, err := strconv.ParseInt(args[len(args)-2], 10, 64)
		length, err2 := strconv.ParseInt(args[len(args)-1], 10, 64)
		if err != nil || err2 != nil || args[len(args)-3] != "0" {
			r.t.Fatalf("fallocate(%.200s) is not understood", c.args)
		}
		d.Allocate(name, offset+length)
	case "fsync", "fdatasync":
		switch {
		case d.Has(name) && !d.Folder(name):
			d.Sync(name)
		case !r.deaf:
			d.SyncFolder(name)
		}
	default:
		r.t.Fatalf("%s(%.200s) is not understood", c.name, c.args)
	}
	return c.name + " " + name
}

// subject returns the name of the file or folder a call is about.
func (r *recorder) subject(c system) (string, bool) {
	if m := fdPath.FindStringSubmatch(c.args); m != nil {
		return r.rel(text(r.t, m[1]))
	}
	if m := quoted.FindStringSubmatch(c.args); m != nil {
		return r.rel(text(r.t, m[1]))
	}
	return "", false
}

func (r *recorder) rel(full string) (string, bool) {
	if full == r.root {
		return ".", true
	}
	rest, ok := strings.CutPrefix(full, r.root+"/")
	return path.Clean(rest), ok && !strings.HasSuffix(rest, "-shm")
}

// text reads strace's hex.
func text(t testing.TB, s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		t.Fatalf("strace printed %.100q: %v", s, err)
	}
	return string(b)
}

const deepFile = "made/by/inturn/inturn.db"

// recordScript runs the small script on a file in folders that are not there yet.
func recordScript(t testing.TB, deaf bool) (*cuts, *recorder) {
	t.Helper()
	c, r := newCuts(t), newRecorder(t)
	r.deaf, c.times = deaf, max(1, c.times/2)
	r.then = func(at string, answer bool) { c.at(at, r.known, r.disk.Cut) }
	r.feed(traced(t, "script", filepath.Join(r.root, deepFile)))
	for name, content := range r.disk.Live() {
		if got, err := os.ReadFile(filepath.Join(r.root, name)); content != nil && (err != nil || string(got) != string(content)) {
			t.Errorf("%s: %d bytes were recorded, %d are there (%v)", name, len(content), len(got), err)
		}
	}
	if len(r.known.seqs) != len(scriptIDs()) || len(r.known.settled) == 0 {
		t.Fatalf("%d answers and %d settles were heard of", len(r.known.seqs), len(r.known.settled))
	}
	return c, r
}

// TestPowerWholeProcess cuts the power after every system call that touches a file
// or a folder, from the making of the folders on.
func TestPowerWholeProcess(t *testing.T) {
	needThorough(t)
	t.Parallel()
	c, r := recordScript(t, false)
	t.Logf("%d steps: %v", r.steps, slices.Sorted(maps.Keys(r.disk.Live())))
	reportWrong(t, c.judge(t, deepFile, scriptIDs(), 10))
}

// TestPowerFolderControl: folders that were not synced must be found out.
func TestPowerFolderControl(t *testing.T) {
	t.Parallel()
	c, _ := recordScript(t, true)
	mustLose(t, c.judge(t, deepFile, scriptIDs(), 1))
}

// TestPowerAfterFailedSync makes one sync of the script fail, each in turn. The
// process is killed at that moment; in the long form also left to end as it likes,
// and then SQLite takes the WAL away. The next one finds in the kernel's memory what
// the disk will never get unless it is written again: what it answers must hold, and
// a cut in the middle of its start must leave a sound file.
func TestPowerAfterFailedSync(t *testing.T) {
	needThorough(t)
	t.Parallel()
	killed := afterFailedSync(t, childKill+"=1")
	if !slices.ContainsFunc(killed, func(name string) bool { return strings.HasSuffix(name, "-wal") }) {
		t.Errorf("no sync of the WAL failed, only of %q", killed)
	}
	if long() {
		afterFailedSync(t, childKill+"=")
	}
}

// afterFailedSync returns the files whose syncs failed.
func afterFailedSync(t testing.TB, setting string) (failed []string) {
	t.Helper()
	step := 7
	if long() {
		step = 1
	}
	for n := 1; ; n += step {
		r := newRecorder(t)
		file := filepath.Join(r.root, deepFile)
		r.feed(traced(t, "script", file, fmt.Sprintf("%s=%d", childFail, n), setting))
		if r.fails == "" {
			return failed
		}
		failed = append(failed, r.fails)
		nextProcess(t, r, fmt.Sprintf("after sync %d failed, of %s", n, r.fails))
	}
}

// TestPowerKillWhileMakingFolders kills the process after each of its first steps:
// the next one must not take for safe what is only there.
func TestPowerKillWhileMakingFolders(t *testing.T) {
	needThorough(t)
	t.Parallel()
	first := newRecorder(t)
	var kills []kill
	first.then = func(at string, _ bool) {
		if len(kills) < 5 {
			kills = append(kills, kill{first.disk.Clone(), first.known, "killed at " + at})
		}
	}
	first.feed(traced(t, "script", filepath.Join(first.root, deepFile)))
	for _, k := range kills {
		r := newRecorder(t)
		r.disk, r.known = k.disk, k.known
		if err := k.disk.Live().WriteTo(r.root); err != nil {
			t.Fatal(err)
		}
		nextProcess(t, r, k.at)
	}
}

// nextProcess starts on what the recorded one left, sends everything again, and cuts
// the power after each step of its start and of its first answers, and after each answer.
func nextProcess(t testing.TB, r *recorder, what string) {
	t.Helper()
	c, answers := newCuts(t), 0
	c.times = max(1, c.times/4)
	r.then = func(at string, answer bool) {
		if answer {
			answers++
		}
		if answers <= 3 || answer && long() {
			c.at(what+", "+at+" of the next process", r.known, r.disk.Cut)
		}
	}
	r.feed(traced(t, "resend", filepath.Join(r.root, deepFile)))
	reportWrong(t, c.judge(t, deepFile, scriptIDs(), 3))
}
