package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version prints what this program was built from.
type Version struct {
	JSON bool `help:"Print JSON." env:"INTURN_JSON"`
}

// Build is what the build information doesn't have: versions that the program is given.
type Build struct {
	Version string // of inturn
	SQLite  string // of the SQLite library
}

// versions is the output of Version, in JSON's names.
type versions struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`     // of the revision
	Modified bool   `json:"modified,omitempty"` // built from files that differ from the revision
	SQLite   string `json:"sqlite"`
}

// Run prints the versions.
func (v Version) Run(out IO, build Build) error {
	info, _ := debug.ReadBuildInfo()
	all := newVersions(build, info)
	if v.JSON {
		return json.NewEncoder(out.Out).Encode(all)
	}
	revision := all.Revision
	switch {
	case revision == "":
		revision = "unknown" // go run and go test leave it out
	case all.Modified:
		revision += ", modified"
	}
	if all.Time != "" {
		revision += " (" + all.Time + ")"
	}
	_, err := fmt.Fprintf(out.Out, "inturn %s\nrevision %s\n%s %s\nsqlite %s\n",
		all.Version, revision, all.Go, all.Platform, all.SQLite)
	return err
}

func newVersions(build Build, info *debug.BuildInfo) versions {
	v := versions{
		Version:  build.Version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		SQLite:   build.SQLite,
	}
	if info == nil {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
