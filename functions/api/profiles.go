package api

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// Seconds of a CPU profile. The write time-out is above maxProfile.
const (
	defaultProfile = 10
	maxProfile     = 20
)

// getProfile is GET /debug/pprof/NAME: it gives what `go tool pprof http://ADMIN/debug/pprof/NAME` asks for: profile
// (of the CPU, over ?seconds=10) or one of runtime/pprof's (heap, goroutine, …), and
// without a NAME their list.
// net/http/pprof would do more, and adds itself to a global handler.
func (m *admin) getProfile(x *exchange, r *http.Request) error {
	if err := m.authorizeProcess(x, r, scopeOperate); err != nil {
		return err
	}
	name := r.PathValue("name")
	switch name {
	case "":
		var list strings.Builder
		list.WriteString("profile\n")
		for _, p := range pprof.Profiles() {
			list.WriteString(p.Name() + "\n")
		}
		x.answer(http.StatusOK, []string{"text/plain; charset=utf-8"}, []byte(list.String()))
		return nil
	case "profile":
		return m.cpuProfile(x, r)
	}
	p := pprof.Lookup(name)
	if p == nil {
		return notFound.withDetail("there is no profile of this name: profile, heap, goroutine, allocs, block, mutex and threadcreate are")
	}
	debug, _ := strconv.Atoi(r.URL.Query().Get("debug")) // 0 for what isn't a number: the binary form
	x.Header()["Content-Type"] = []string{"application/octet-stream"}
	if debug > 0 {
		x.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	}
	return p.WriteTo(x, debug)
}

func (m *admin) cpuProfile(x *exchange, r *http.Request) error {
	seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || seconds < 1 {
		seconds = defaultProfile
	}
	x.Header()["Content-Type"] = []string{"application/octet-stream"}
	if err := pprof.StartCPUProfile(x); err != nil {
		return unavailable.withDetail("another profile is being taken: come back later").withCause(err)
	}
	defer pprof.StopCPUProfile()
	over := time.NewTimer(time.Duration(min(seconds, maxProfile)) * time.Second)
	defer over.Stop()
	select {
	case <-over.C:
	case <-r.Context().Done():
	case <-m.stopping:
	}
	return nil
}
