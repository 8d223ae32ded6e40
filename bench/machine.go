package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine describes the machine of a run.
type machine struct {
	Cores    int      `json:"cores"`
	CPU      string   `json:"cpu"`
	MemoryGB float64  `json:"memory_gb"`
	Kernel   string   `json:"kernel"`
	Load     float64  `json:"load"` // 1 minute's average when the run began
	Fsync    quantile `json:"fsync_ms"`
}

// Busy reports whether other programs used the machine. Then absolute figures mean
// nothing, and ratios are noisy.
func (m machine) Busy() bool { return m.Load > float64(m.Cores)/4 }

type quantile struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// lookAtMachine describes this machine, and the disk that dir is on.
func lookAtMachine(dir string) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), Kernel: firstLine("/proc/sys/kernel/osrelease")}
	m.CPU = after("/proc/cpuinfo", "model name")
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(after("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGB = kb / 1e6
	}
	m.Load, _ = strconv.ParseFloat(strings.Split(firstLine("/proc/loadavg"), " ")[0], 64)
	times, err := fsyncs(dir, 200)
	m.Fsync = quantiles(times)
	return m, err
}

// fsyncs appends 4 KiB to a file and syncs it, n times. It returns how long each took.
func fsyncs(dir string, n int) (times []time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	for range n {
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// quantiles sorts times and returns the median and p99, in milliseconds.
func quantiles(times []time.Duration) quantile {
	if len(times) == 0 {
		return quantile{}
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[min(int(share*float64(len(times))), len(times)-1)].Microseconds()) / 1000
	}
	return quantile{at(0.5), at(0.99)}
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path) // what the system doesn't tell stays empty
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// after returns the text behind the first "key :" in a text of such lines.
func after(path, key string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
