package serve

import "runtime/debug"

// version is set by the linker: -ldflags "-X inturn/serve.version=v1.2.3".
var version = unstamped

const unstamped = "dev"

// programVersion returns the version of this program.
func programVersion() string { return stamped(version, debug.ReadBuildInfo) }

// stamped returns the linker's version, else that of the tag or commit that Go has built
// from, as `go install` does.
func stamped(linked string, read func() (*debug.BuildInfo, bool)) string {
	if info, ok := read(); ok && linked == unstamped && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return linked
}
