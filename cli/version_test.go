package cli

import (
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	build := Build{Version: "v1.2.3", SQLite: "3.99.0"}
	out, written, _ := newIO()
	if err := (Version{}).Run(out, build); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"inturn v1.2.3\n", runtime.Version(), "sqlite 3.99.0\n", "revision "} {
		if !strings.Contains(written.String(), part) {
			t.Errorf("%q lacks %q", written, part)
		}
	}
	written.Reset()
	if err := (Version{JSON: true}).Run(out, build); err != nil {
		t.Fatal(err)
	}
	var got versions
	if err := json.Unmarshal(written.Bytes(), &got); err != nil || got.Version != "v1.2.3" || got.SQLite != "3.99.0" || got.Go != runtime.Version() {
		t.Errorf("%+v, %v", got, err)
	}
	got = newVersions(build, &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}})
	if got.Revision != "abc" || got.Time != "2026-01-02T03:04:05Z" || !got.Modified {
		t.Errorf("%+v", got)
	}
}
