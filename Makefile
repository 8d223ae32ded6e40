# The commands that people type here. Everything else is `go` itself.
.PHONY: build test tester bench release man

# Of the tag where there is one, else of the commit.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
DIST ?= dist

build:
	CGO_ENABLED=0 go build -trimpath -o inturn .

test:
	go test ./...

# System B's tester against a server that runs: make tester ARGS='--rate 2000 --url https://…'
tester: build
	./inturn loadtest $(ARGS)

# The goals of speed, beside what else there is: make bench PEERS=folder ARGS=--goals
bench:
	go run ./bench --peers "$(PEERS)" $(ARGS)

# Manual pages of all commands: man $(DIST)/man/inturn-accounts-list.1
man: build
	./inturn man $(DIST)/man

# The same bytes for everyone who builds the same files with the same Go. Beside each program
# stands its bill of materials (CycloneDX), with the modules it was compiled from. The commit is
# in the version, and not stamped in by Go: it would make a clone differ from an archive.
release:
	rm -rf $(DIST) && mkdir -p $(DIST)
	set -e; for p in $(PLATFORMS); do \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -trimpath -buildvcs=false -ldflags "-s -w -X inturn/serve.version=$(VERSION)" \
	    -o $(DIST)/inturn-$(VERSION)-$${p%/*}-$${p#*/} .; \
	  go run ./internal/sbom -version $(VERSION) $(DIST)/inturn-$(VERSION)-$${p%/*}-$${p#*/} >$(DIST)/inturn-$(VERSION)-$${p%/*}-$${p#*/}.cdx.json; \
	done
	cd $(DIST) && if command -v sha256sum >/dev/null; then sha256sum inturn-*; else shasum -a 256 inturn-*; fi >SHA256SUMS
	cat $(DIST)/SHA256SUMS
