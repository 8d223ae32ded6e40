// Command inturn takes events over HTTPS, makes each durable in one SQLite file, and runs
// functions on events: strictly in order within an account, in parallel across accounts,
// each event once.
//
//	            functions/api          db                runner
//	client --> HTTPS, check ---> one committer ----> accounts take turns --+
//	           answer <--------- after the fsync           |               |
//	                                  ^                functions: work     |
//	                                  +---- effect + result, one commit <--+
//
// Package serve wires these parts; package cli has the other commands.
package main

import (
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/serve"
)

func main() {
	serve.Main(message.Function, message.Close, work.Function)
}
