# The commands that people type here. Everything else is `go` itself.
.PHONY: build test tester bench

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
