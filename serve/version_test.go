package serve

import (
	"runtime/debug"
	"testing"
)

// The linker's version wins; a build of a tag or commit says so; all else is dev.
func TestStamped(t *testing.T) {
	for _, c := range []struct{ linked, module, want string }{
		{"v1.2.3", "v9.9.9", "v1.2.3"},
		{unstamped, "v1.2.3", "v1.2.3"},
		{unstamped, "(devel)", unstamped},
		{unstamped, "", unstamped},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.module}}
		if got := stamped(c.linked, func() (*debug.BuildInfo, bool) { return info, true }); got != c.want {
			t.Errorf("%q built as %q: %q, want %q", c.linked, c.module, got, c.want)
		}
	}
	if got := stamped(unstamped, func() (*debug.BuildInfo, bool) { return nil, false }); got != unstamped {
		t.Errorf("without build information: %q", got)
	}
}
