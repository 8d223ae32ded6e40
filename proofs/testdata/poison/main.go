// Command poison is inturn with functions that end the process, and one that does not, for
// proofs/poison_test.go.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"inturn/functions"
	"inturn/functions/message"
	"inturn/functions/work"
	"inturn/serve"
)

func main() {
	poison := functions.WithPolicy(functions.Policy{Attempts: 3, InitialBackoff: 10 * time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	steady := functions.WithPolicy(functions.Policy{Attempts: 40, InitialBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond})
	serve.Main(message.Function, message.Close, work.Function,
		functions.New("poison", end, poison),
		functions.New("poison-ahead", end, poison, functions.Pure()),
		functions.New("steady", end, steady, functions.Tables(1, `CREATE TABLE steady (
			n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, client_id TEXT NOT NULL, message_id TEXT NOT NULL) STRICT`)),
	)
}

type how struct {
	How string `json:"how"` // "" doesn't end the process
}

func end(_ context.Context, ev functions.Event, h how) (functions.Effect, error) {
	switch h.How {
	case "exit":
		os.Exit(3)
	case "killed": // what the kernel does when it has no memory
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
		select {}
	case "stack overflow":
		debug.SetMaxStack(1 << 20) // the default of 1 GB would be a load on the machine
		overflow(0)
	case "out of memory":
		// The limit makes the allocation fail before any of it is touched.
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: 8 << 30, Max: 8 << 30}); err != nil {
			return nil, err
		}
		sink = make([]byte, 1<<40)
	case "panic in a goroutine":
		go panic("nobody recovers this")
		select {}
	case "wait": // so that what comes after it can be worked ahead
		time.Sleep(300 * time.Millisecond)
	}
	return func(tx functions.Tx) (any, error) {
		if h.How == "exit in the effect" {
			os.Exit(3)
		}
		_, err := tx.ExecContext(tx.Context(), `INSERT INTO steady (client_id, message_id) VALUES (?, ?)`, ev.ClientID, ev.MessageID)
		return nil, err
	}, nil
}

var sink []byte

func overflow(n int) int { return overflow(n+1) + n }
